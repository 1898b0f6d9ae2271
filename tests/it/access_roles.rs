//! A key's loads may run in a role of PostgreSQL's, whose grants decide; and the service itself needs no more rights than
//! `scripts/grants.sql` gives.

use std::process::Command;

use reqwest::Method;

use crate::support::{Answer, Service, World, keys, make_key, run};

/// A service on tables of which each row says who has written it, and when its transaction commits again.
const TABLES: &str = "CREATE TABLE t (id int, writer name DEFAULT current_user); CREATE TABLE seen (at text, by name); \
    CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS \
        'BEGIN INSERT INTO seen VALUES (TG_ARGV[0], current_user); RETURN NULL; END'; \
    CREATE TRIGGER now AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION see('insert'); \
    CREATE CONSTRAINT TRIGGER later AFTER INSERT ON t DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION see('commit')";

async fn world() -> (World, String) {
    let world = World::with(&["--require-keys", "--bulk-slots", "1"]).await;
    let role = format!("{} \"loader\"", world.db.name);
    let quoted = quoted(&role);
    world.db.sql(&format!("{TABLES}; CREATE ROLE {quoted}; GRANT INSERT ON seen TO {quoted}")).await;
    (world, role)
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

async fn load(world: &World, key: &str) -> Answer {
    let request = world.post("t?columns=id&header=absent", "text/csv").bearer_auth(key);
    Answer::of(request.body("1\n").send().await.unwrap()).await
}

async fn table(world: &World, key: &str) -> Answer {
    let request = world.http.request(Method::GET, world.url("/v1/tables/t")).bearer_auth(key);
    Answer::of(request.send().await.unwrap()).await
}

#[tokio::test]
async fn the_grants_of_a_keys_role_decide() {
    let (world, role) = world().await;
    let key = make_key(&world.db.url, "load", "*.*", &["--pg-role", &role]);
    load(&world, &key).await.problem(403, "table-forbidden");
    table(&world, &key).await.problem(403, "table-forbidden");
    world.db.sql(&format!("GRANT INSERT ON t TO {}", quoted(&role))).await;
    load(&world, &key).await.committed(1);
    assert_eq!(table(&world, &key).await.status, 200);
    // Row, trigger, and what was put off until COMMIT: all of it in that role. The ledger is the service's own.
    assert_eq!(world.db.texts("SELECT writer::text FROM t").await[0].as_deref(), Some(role.as_str()));
    let seen = world.db.texts("SELECT at || ' ' || by FROM seen ORDER BY at").await;
    assert_eq!(seen, [Some(format!("commit {role}")), Some(format!("insert {role}"))]);
    assert_eq!(world.db.count("pgsluice.ledger").await, 1);
    // The connection is used again, and by somebody without a role.
    let own = make_key(&world.db.url, "load", "*.*", &[]);
    load(&world, &own).await.committed(1);
    assert_eq!(world.db.count("t WHERE writer = session_user").await, 1);
}

#[tokio::test]
async fn a_role_that_cannot_be_taken_loads_nothing() {
    let (world, _) = world().await;
    for role in ["none", "nobody is called so", "x\" ; RESET ROLE; --"] {
        let key = make_key(&world.db.url, "load", "*.*", &["--pg-role", role]);
        load(&world, &key).await.problem(403, "role-forbidden");
        table(&world, &key).await.problem(403, "role-forbidden");
    }
    assert_eq!(world.db.count("t").await, 0);
}

#[tokio::test]
async fn a_trigger_that_gets_out_of_the_role_ends_the_load() {
    let (world, role) = world().await;
    world
        .db
        .sql(&format!(
            "GRANT INSERT ON t TO {}; \
             CREATE FUNCTION leave() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RESET ROLE; RETURN NULL; END'; \
             CREATE TRIGGER leave AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION leave()",
            quoted(&role)
        ))
        .await;
    let key = make_key(&world.db.url, "load", "*.*", &["--pg-role", &role]);
    let answer = load(&world, &key).await;
    assert!(
        answer.problem(403, "table-forbidden")["detail"].as_str().unwrap().contains("has changed that"),
        "{answer:?}"
    );
    assert_eq!(world.db.count("t").await, 0);
    assert_eq!(world.db.count("pgsluice.ledger").await, 0);
}

#[tokio::test]
async fn a_trigger_leaves_no_role_to_the_next_load() {
    let (world, role) = world().await;
    world
        .db
        .sql(&format!(
            "CREATE FUNCTION stay() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN SET ROLE {}; RETURN NULL; END$$; \
             GRANT INSERT ON pgsluice.ledger TO {0}; GRANT USAGE ON SCHEMA pgsluice TO {0}; GRANT SELECT ON pgsluice.ledger TO {0}; \
             CREATE TRIGGER stay AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION stay()",
            quoted(&role)
        ))
        .await;
    let key = make_key(&world.db.url, "load", "*.*", &[]);
    load(&world, &key).await.committed(1);
    world.db.sql("DROP TRIGGER stay ON t").await;
    load(&world, &key).await.committed(1);
    assert_eq!(world.db.count("t WHERE writer = session_user").await, 2);
    let connections = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'pgsluice bulk'";
    assert_eq!(world.db.rows(connections).await[0].get::<_, i64>(0), 1, "the loads did not share a connection");
}

/// What a trigger of one load sets for its session would change what the next one's values mean.
#[tokio::test]
async fn a_trigger_leaves_no_settings_to_the_next_load() {
    let world = World::with(&["--bulk-slots", "1"]).await;
    world
        .db
        .sql(
            "CREATE TABLE t (id int, at timestamptz); CREATE FUNCTION stay() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN \
             PERFORM set_config('TimeZone', 'Asia/Tokyo', false), set_config('DateStyle', 'German', false), \
                     set_config('session_replication_role', 'replica', false); RETURN NULL; END$$; \
             CREATE TRIGGER stay AFTER INSERT ON t FOR EACH STATEMENT EXECUTE FUNCTION stay()",
        )
        .await;
    // By the encoder, which is told what the session has, and by the server: no encoder knows such a date.
    for body in ["id,at\n1,2024-01-02 03:04:05\n", "id,at\n2,Jan 2 03:04:05 2024\n", "id,at\n3,01/02/2024 03:04:05\n"] {
        world.load_csv("t", body).await.committed(1);
        world.load_csv("t", body).await.committed(1);
    }
    let distinct = world.db.texts("SELECT DISTINCT (at AT TIME ZONE 'UTC')::text FROM t").await;
    assert_eq!(distinct, [Some("2024-01-02 03:04:05".to_owned())]);
    let connections = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'pgsluice bulk'";
    assert_eq!(world.db.rows(connections).await[0].get::<_, i64>(0), 1, "the loads did not share a connection");
}

fn as_role(url: &str, role: &str) -> String {
    format!("{url}{}user={role}", if url.contains('?') { '&' } else { '?' })
}

#[tokio::test]
async fn the_service_runs_with_the_rights_of_the_script_and_no_others() {
    let bare = crate::support::Database::create().await;
    let name = bare.name.clone();
    let roles: Vec<String> = ["migration", "metadata", "keys", "target"].iter().map(|what| format!("{name}_{what}")).collect();
    let grants = |url: &str| {
        let mut psql = Command::new("psql");
        psql.args(["-X", "-q", "-d", url, "-f", concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/grants.sql")]);
        for (what, role) in ["migration", "metadata", "keys", "target"].iter().zip(&roles) {
            psql.arg("-v").arg(format!("{what}={role}"));
        }
        run(&mut psql);
    };
    grants(&bare.url);
    let url = bare.url.clone();
    let url_of = |what: usize| as_role(&url, &roles[what]);
    run(Command::new(env!("CARGO_BIN_EXE_pgsluice"))
        .args(["migrate", "--database-url", &url_of(0)])
        .env_remove("DATABASE_URL"));
    // Again, now that there are tables; and a third time, which changes nothing.
    grants(&bare.url);
    grants(&bare.url);
    let (metadata, target) = (url_of(1), url_of(3));
    bare.sql(&format!(
        "CREATE TABLE t (id int PRIMARY KEY); GRANT INSERT ON t TO {target}; CREATE TABLE closed (id int); \
         CREATE ROLE {name}_team; GRANT {name}_team TO {target}; CREATE TABLE teams (id int); GRANT INSERT ON teams TO {name}_team",
        target = roles[3]
    ))
    .await;
    let mut command = Service::command();
    command.args(["--require-keys", "--database-url", &metadata, "--bulk-database-url", &target]);
    // Old jobs are looked for every six seconds.
    command.args(["--job-retention", "60", "--idempotency-key-retention", "60"]);
    let service = Service::spawn(command).await;
    let mut world = World::new().await;
    (world.service, world.db) = (service, bare);
    let key = make_key(&url_of(2), "admin", "*.*", &[]);
    let post = async |table: &str, key: &str, body: &'static str| {
        Answer::of(
            world
                .post(table, "text/csv")
                .bearer_auth(key)
                .header("Idempotency-Key", table)
                .body(body)
                .send()
                .await
                .unwrap(),
        )
        .await
    };
    post("t", &key, "id\n1\n").await.committed(1);
    assert_eq!(post("t", &key, "id\n1\n").await.committed(1)["replayed"], true);
    let skipped = post("t?on_error=skip", &key, "id\n1\n2\nx\n").await;
    skipped.committed(1);
    let rejects = world
        .http
        .get(world.url(skipped.json["rejects_url"].as_str().unwrap()))
        .bearer_auth(&key)
        .send()
        .await
        .unwrap();
    assert_eq!(rejects.text().await.unwrap().lines().count(), 2);
    post("closed", &key, "id\n1\n").await.problem(403, "table-forbidden");
    let team = make_key(&url_of(2), "load", "*.*", &["--pg-role", &format!("{name}_team")]);
    post("teams", &team, "id\n1\n").await.committed(1);
    post("t", &team, "id\n9\n").await.problem(403, "table-forbidden");
    let old = "UPDATE pgsluice.jobs SET finished_at = finished_at - interval '1 day' WHERE rows_rejected > 0";
    world.db.sql(old).await;
    world.db.wait_until("SELECT count(*) = 0 FROM pgsluice.jobs WHERE rows_rejected > 0").await;
    let its_row = format!("pgsluice.ledger WHERE job_id = '{}'", skipped.json["id"].as_str().unwrap());
    assert_eq!((world.db.count("pgsluice.rejects").await, world.db.count(&its_row).await), (0, 0));
    // The service could not make itself a key, nor read the rows that it has loaded.
    assert!(!keys(&metadata, &["create", "--name", "x", "--role", "admin", "--tables", "*.*"]).status.success());
    for (url, sql) in [
        (&metadata, "UPDATE pgsluice.keys SET revoked_at = NULL"),
        (&metadata, "SELECT FROM t"),
        (&metadata, "CREATE TABLE pgsluice.mine ()"),
        (&target, "SELECT FROM t"),
        (&target, "SELECT FROM pgsluice.keys"),
        (&target, "UPDATE pgsluice.ledger SET rows = 0"),
        (&target, "SELECT FROM pgsluice.jobs"),
    ] {
        let psql = Command::new("psql").args(["-X", "-d", url, "-c", sql]).output().unwrap();
        assert!(String::from_utf8_lossy(&psql.stderr).contains("permission denied"), "{sql}");
    }
    assert!(keys(&url_of(2), &["revoke", &key]).status.success());
    post("t", &key, "id\n3\n").await.problem(401, "invalid-token");
}
