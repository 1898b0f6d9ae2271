//! A link to PostgreSQL that dies is told from a PostgreSQL that works, and a load on a dead one ends in time, with nothing left behind.

use std::time::Duration;

use crate::support::{Link, Proxy, Service, Trickle, World, signal};

/// Enough that some of it waits in the service when nobody takes it any more.
const BODY_ROWS: usize = 400_000;

async fn world(flags: &[&str]) -> (World, Proxy) {
    let (world, proxy) = World::behind_proxy(&[&["--database-stall", "1", "--connect-timeout", "2"], flags].concat()).await;
    world.db.sql("CREATE TABLE t (id int, filler text)").await;
    (world, proxy)
}

fn row() -> String {
    format!("1,{}\n", "x".repeat(90))
}

/// A load of which PostgreSQL has taken something.
async fn half_way(world: &World) -> Trickle {
    let load = Trickle::begin(world, "t");
    load.send("id,filler\n");
    load.send(row().repeat(BODY_ROWS / 4));
    world.wait_for_job(|job| job["rows_received"].as_u64() > Some(BODY_ROWS as u64 / 8)).await;
    load
}

/// The load ends with an error that is true, and its server process with it; and the next one finds everything in order.
async fn ends_in_order(world: &World, proxy: &Proxy, load: Trickle) {
    load.send(row().repeat(BODY_ROWS / 4 * 3));
    let answer = load.finish().await;
    let problem = answer.problem(503, "database-unavailable");
    assert!(problem["detail"].as_str().unwrap().contains("send it again"), "{problem:#}");
    assert!(answer.headers.contains_key("retry-after"));
    assert_eq!(world.job(problem["job_id"].as_str().unwrap()).await["state"], "failed");
    proxy.heal();
    world.db.wait_until(&nobody_loads(world)).await;
    assert_eq!((world.db.count("t").await, world.db.count("pgsluice.ledger").await), (0, 0));
    world.load_csv("t", "id,filler\n1,x\n").await.committed(1);
}

fn nobody_loads(world: &World) -> String {
    format!(
        "SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = '{}' AND application_name = 'pgsluice bulk' AND xact_start IS NOT NULL",
        world.db.name
    )
}

#[tokio::test]
async fn a_link_that_is_cut() {
    let (world, proxy) = world(&[]).await;
    let load = half_way(&world).await;
    proxy.set_open(Link::Cut);
    ends_in_order(&world, &proxy, load).await;
}

#[tokio::test]
async fn a_black_hole_that_others_get_around() {
    let (world, proxy) = world(&[]).await;
    let load = half_way(&world).await;
    proxy.set_open(Link::Silent);
    ends_in_order(&world, &proxy, load).await;
}

#[tokio::test]
async fn a_black_hole_for_everybody() {
    let (world, proxy) = world(&[]).await;
    let load = half_way(&world).await;
    proxy.set(Link::Silent);
    // Whoever asks for something else is answered, and truly.
    assert_eq!(world.get("/v1/jobs").await.status, 200);
    world.get("/readyz").await.problem(503, "database-unavailable");
    ends_in_order(&world, &proxy, load).await;
    assert_eq!(world.get("/readyz").await.status, 200);
}

#[tokio::test]
async fn answers_that_do_not_come() {
    let (world, proxy) = world(&[]).await;
    let load = half_way(&world).await;
    proxy.set_open(Link::Deaf);
    ends_in_order(&world, &proxy, load).await;
}

#[tokio::test]
async fn a_black_hole_before_the_load_has_begun() {
    let (world, proxy) = world(&[]).await;
    proxy.set(Link::Silent);
    world.load_csv("t", "id,filler\n1,x\n").await.problem(503, "database-unavailable");
    assert_eq!(world.get("/v1/jobs").await.json["jobs"].as_array().unwrap().len(), 0);
    proxy.heal();
    world.load_csv("t", "id,filler\n1,x\n").await.committed(1);
    assert_eq!(world.db.count("t").await, 1);
}

#[tokio::test]
async fn a_black_hole_for_the_ledger() {
    let (world, proxy) = world(&[]).await;
    proxy.set_when_sent("INSERT INTO pgsluice.ledger", Link::Silent);
    let answer = world.load_csv("t", "id,filler\n1,x\n").await;
    answer.problem(503, "database-unavailable");
    proxy.heal();
    world.db.wait_until(&nobody_loads(&world)).await;
    assert_eq!((world.db.count("t").await, world.db.count("pgsluice.ledger").await), (0, 0));
}

#[tokio::test]
async fn a_black_hole_for_what_is_converted() {
    let (world, proxy) = world(&[]).await;
    proxy.set_when_sent("convert_from", Link::Silent);
    let answer = world.load_csv("t?encoding=WIN1252", &b"id,filler\n1,\xe9\n"[..]).await;
    answer.problem(503, "database-unavailable");
    proxy.heal();
    world.db.wait_until(&nobody_loads(&world)).await;
    assert_eq!(world.db.count("t").await, 0);
    world.load_csv("t?encoding=WIN1252", &b"id,filler\n1,\xe9\n"[..]).await.committed(1);
}

#[tokio::test]
async fn a_client_that_is_slow_is_not_taken_for_a_dead_link() {
    let (world, _proxy) = world(&["--client-stall", "30"]).await;
    let load = half_way(&world).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    load.send(row());
    load.finish().await.committed(BODY_ROWS as u64 / 4 + 1);
}

#[tokio::test]
async fn a_slow_link_is_only_slow() {
    let (world, proxy) = world(&[]).await;
    proxy.set(Link::Slow(Duration::from_millis(20)));
    world.load_csv("t", format!("id,filler\n{}", row().repeat(20_000))).await.committed(20_000);
    assert_eq!(world.db.count("t").await, 20_000);
    // Nor does it count against a load that asks for more of the server: savepoints, halves, and rows one by one.
    let bad = format!("id,filler\n{0}2,\n{0}x,x\n{0}3,\n{0}", row().repeat(50));
    world.db.sql("TRUNCATE t; ALTER TABLE t ADD CHECK (filler <> '') , ALTER filler SET NOT NULL").await;
    let job = world.load_csv("t?on_error=skip", bad).await;
    assert_eq!(job.committed(200)["rows_rejected"], 3);
    assert_eq!(world.db.count("t").await, 200);
}

/// Then PostgreSQL does not say that it works.
#[tokio::test]
async fn a_server_that_does_not_show_what_it_does_is_loaded_into() {
    let (world, _proxy) = world(&[]).await;
    world.db.sql(&format!("ALTER DATABASE {} SET track_activities = off; {SLOW}", world.db.name)).await;
    world.load_csv("t", "id,filler\n1,x\n").await.committed(1);
}

/// It waits for an answer that does not come, and has nothing to lose.
#[tokio::test]
async fn a_start_that_hangs_can_be_ended() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("postgresql://postgres@{}/postgres", silent.local_addr().unwrap());
    let mut command = Service::command();
    command.args(["--database-url", &url, "--connect-timeout", "600"]);
    let mut service = command.spawn().unwrap();
    let _connected = silent.accept().await.unwrap();
    signal(service.id(), "TERM");
    for _ in 0..600 {
        if let Some(status) = service.try_wait().unwrap() {
            return assert!(status.success(), "{status}");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    service.kill().unwrap();
    panic!("the service waits for its database");
}

const SLOW: &str = "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(5); RETURN NULL; END'; \
    CREATE TRIGGER slow AFTER INSERT ON t FOR EACH STATEMENT EXECUTE FUNCTION slow()";

#[tokio::test]
async fn a_server_that_works_for_long_is_waited_for() {
    let (world, _proxy) = world(&[]).await;
    world.db.sql(SLOW).await;
    world.load_csv("t", "id,filler\n1,x\n").await.committed(1);
}

#[tokio::test]
async fn a_server_that_works_and_has_no_connection_to_spare_is_waited_for() {
    let (mut world, _proxy) = world(&[]).await;
    let role = format!("loader_{}", world.db.name);
    world.db.sql(&format!("{SLOW}; CREATE ROLE {role} LOGIN SUPERUSER")).await;
    let url = world.db.url.replace("postgres@", &format!("{role}@"));
    world.service = Service::start(&world.db.url, &["--bulk-database-url", &url, "--database-stall", "1"]).await;
    let load = Trickle::begin(&world, "t");
    load.send("id,filler\n1,x\n");
    world.wait_for_job(|job| job["state"] == "running").await;
    // From now on this role gets no further connection.
    let grants = format!("GRANT SELECT, INSERT ON t, pgsluice.ledger TO {role}; GRANT USAGE ON SCHEMA pgsluice TO {role}");
    world.db.sql(&format!("{grants}; ALTER ROLE {role} NOSUPERUSER CONNECTION LIMIT 1")).await;
    world.load_csv("t", "id,filler\n2,x\n").await.problem(503, "database-unavailable");
    load.finish().await.committed(1);
    world.db.sql(&format!("ALTER ROLE {role} CONNECTION LIMIT -1")).await;
    world.load_csv("t", "id,filler\n3,x\n").await.committed(1);
    world.service.kill();
    world
        .db
        .wait_until(&format!("SELECT count(*) = 0 FROM pg_stat_activity WHERE usename = '{role}'"))
        .await;
    world.db.sql(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;
}
