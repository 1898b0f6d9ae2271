//! Behind PgBouncer in transaction mode, each transaction may be on another server connection, which others use before and after. Loads
//! and queries of two instances at once go without an error, and nothing is left behind for the next.
//!
//! `make test-pgbouncer` sends 500 loads and 20,000 queries; `PGSLUICE_TEST_LOADS` and `PGSLUICE_TEST_QUERIES` set other numbers.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use futures::future::{join, join_all};
use reqwest::StatusCode;
use serde_json::Value;

use crate::support::{Answer, Bouncer, Database, Service, Trickle, World, signal};

/// More than the loads of both instances together, which hold one each.
const SERVER_CONNECTIONS: u32 = 12;
const PATIENT: [&str; 2] = ["--bulk-slot-wait-ms", "60000"];

/// Two instances on one database, the first by `flags`, the second by the flags of its own.
async fn two_worlds(db: Database, bouncer: &Bouncer, flags: [&[&str]; 2]) -> [World; 2] {
    let first = Service::start(&bouncer.url, &[&PATIENT, flags[0]].concat()).await;
    let second = Service::start(&bouncer.url, &[&PATIENT, flags[1]].concat()).await;
    let again = Database::open(db.url.clone(), db.name.clone()).await;
    [World::of(db, first), World::of(again, second)]
}

fn number(variable: &str, default: usize) -> usize {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap())
}

/// One of several kinds of loads, each with traps of its own: settings, savepoints, text segments, a conversion on a second connection,
/// a COPY for each list of columns.
async fn load(world: &World, number: usize) -> Answer {
    match number % 6 {
        0 => world.load_csv("t", "id,at,name\n1,2024-01-01,a\n2,2024-01-01,b\n").await,
        1 => {
            world
                .load_csv(
                    "t?timezone=Asia/Tokyo&datestyle=DMY&synchronous_commit=off",
                    "id,at,name\n1,01/02/2024,a\n2,tomorrow,b\n",
                )
                .await
        }
        2 => {
            world
                .load_csv("t?on_error=skip", "id,at,name\n1,2024-01-01,a\nx,2024-01-01,b\n-5,2024-01-01,c\n2,2024-01-01,d\n")
                .await
        }
        3 => {
            world
                .load_csv("t?encoding=WIN1250", &b"id,at,name\n1,2024-01-01,\xbe\n2,2024-01-01,\x9e\n"[..])
                .await
        }
        4 => world.load("t", "application/x-ndjson", "{\"id\":1}\n{\"id\":2,\"name\":\"b\"}\n").await,
        _ => world.load_csv("t?segments=one", "id,at,name\n1,epoch,a\n2,2024-01-01,b\n").await,
    }
}

#[tokio::test]
async fn loads_and_status_queries_of_two_instances() {
    let db = Database::create().await;
    db.sql("CREATE TABLE t (id int CHECK (id > 0), at timestamptz DEFAULT now(), name text)").await;
    let bouncer = Bouncer::start(&db, SERVER_CONNECTIONS).await;
    // The second one has to find out by itself.
    let worlds = two_worlds(db, &bouncer, [&["--pgbouncer"], &[]]).await;
    let (loads, queries) = (number("PGSLUICE_TEST_LOADS", 60), number("PGSLUICE_TEST_QUERIES", 2000));

    let ids = Mutex::new(Vec::<String>::new());
    let (next_load, next_query) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let loaders = (0..8).map(|loader| {
        let (world, ids, next) = (&worlds[loader % 2], &ids, &next_load);
        async move {
            while let number = next.fetch_add(1, Relaxed)
                && number < loads
            {
                // Now and then one that is refused, so that its connection is thrown away.
                if number % 10 == 9 {
                    world.load_csv("t", "id,at,name\n1,2024-01-01,a\n-1,2024-01-01,b\n").await.problem(422, "bad-row");
                    world.load_csv("nosuchtable", "id\n1\n").await.problem(404, "table-not-found");
                }
                let answer = load(world, number).await;
                let job = answer.committed(2);
                ids.lock().unwrap().push(job["id"].as_str().unwrap().to_owned());
            }
        }
    });
    let askers = (0..24).map(|asker| {
        let (world, ids, next) = (&worlds[asker % 2], &ids, &next_query);
        async move {
            while let number = next.fetch_add(1, Relaxed)
                && number < queries
            {
                let known = ids.lock().unwrap().get(number % 97).cloned();
                let Some(id) = known else {
                    let answer = world.get("/v1/jobs?limit=3").await;
                    assert_eq!(answer.status, StatusCode::OK, "{:#}", answer.json);
                    continue;
                };
                let answer = world.get(&format!("/v1/jobs/{id}")).await;
                assert_eq!(answer.status, StatusCode::OK, "{:#}", answer.json);
                assert_eq!((answer.json["id"].as_str(), answer.json["state"].as_str()), (Some(id.as_str()), Some("committed")));
            }
        }
    });
    join(join_all(loaders), join_all(askers)).await;

    assert_eq!(worlds[0].db.count("t").await, 2 * loads as i64);
    let committed = "pgsluice.jobs WHERE state = 'committed' AND rows_loaded = 2";
    assert_eq!(worlds[0].db.count(committed).await, loads as i64);
    nothing_is_left_behind(&bouncer).await;
}

/// Looks at each server connection that PgBouncer has, by holding them all at once.
async fn nothing_is_left_behind(bouncer: &Bouncer) {
    let mut clients = Vec::new();
    let mut pids = BTreeSet::new();
    for _ in 0..SERVER_CONNECTIONS - 2 {
        let (client, io) = tokio_postgres::connect(&bouncer.url, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(io);
        client.batch_execute("BEGIN").await.unwrap();
        let rows = client
            .query_typed(
                "SELECT pg_backend_pid(), \
                   (SELECT count(*) FROM pg_prepared_statements), \
                   (SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory'), \
                   (SELECT string_agg(name || '=' || setting, ' ') FROM pg_settings WHERE source = 'session' \
                      AND name IN ('TimeZone', 'DateStyle', 'lock_timeout', 'statement_timeout', 'synchronous_commit', \
                                   'idle_in_transaction_session_timeout')), \
                   (SELECT count(*) FROM pg_listening_channels())",
                &[],
            )
            .await
            .unwrap();
        let row = &rows[0];
        pids.insert(row.get::<_, i32>(0));
        let left = (row.get::<_, i64>(1), row.get::<_, i64>(2), row.get::<_, Option<String>>(3), row.get::<_, i64>(4));
        assert_eq!(left, (0, 0, None, 0));
        clients.push(client);
    }
    assert_eq!(pids.len(), clients.len());
}

/// The field's warning: prepared statements are a session's, and PgBouncer 1.18 does not know them. If this went well, the test above would
/// not see anything.
#[tokio::test]
async fn a_statement_cache_by_force_is_seen_to_fail() {
    let db = Database::create().await;
    let bouncer = Bouncer::start(&db, SERVER_CONNECTIONS).await;
    let by_force: &[&str] = &["--pgbouncer", "--statement-cache-size", "100"];
    let worlds = two_worlds(db, &bouncer, [by_force, by_force]).await;
    let mut failures = Vec::new();
    for _ in 0..50 {
        let answers = join_all((0..40).map(|asker| worlds[asker % 2].get("/v1/jobs?limit=3"))).await;
        failures.extend(answers.into_iter().filter(|answer| answer.status != StatusCode::OK));
        if !failures.is_empty() {
            break;
        }
    }
    let first = failures.first().expect("2,000 queries with prepared statements went well behind PgBouncer");
    first.problem(503, "metadata-unavailable");
}

async fn running_job(world: &World, load: &Trickle) -> Value {
    load.send("id\n");
    load.send("1\n".repeat(200_000));
    world
        .wait_for_job(|job| job["state"] == "running" && job["rows_received"].as_u64() > Some(100_000))
        .await
}

/// Recovery ends the server process that has the load's transaction, and no other: not the one that the connection had when it was made.
#[tokio::test]
async fn each_job_knows_the_server_process_of_its_transaction() {
    let db = Database::create().await;
    db.sql("CREATE TABLE t (id int)").await;
    let bouncer = Bouncer::start(&db, SERVER_CONNECTIONS).await;
    let worlds = two_worlds(db, &bouncer, [&["--pgbouncer"], &["--pgbouncer"]]).await;
    let db = &worlds[0].db;
    for round in 0..3 {
        let loads: Vec<_> = (0..6).map(|load| Trickle::begin(&worlds[load % 2], "t")).collect();
        for load in &loads {
            load.send("id\n");
            load.send("1\n".repeat(100_000));
        }
        db.wait_until("SELECT count(*) = 6 FROM pgsluice.jobs WHERE state = 'running'").await;
        let loading = format!(
            "SELECT pid FROM pg_stat_activity WHERE datname = '{}' AND application_name = 'pgsluice bulk' AND backend_xid IS NOT NULL",
            db.name
        );
        db.wait_until(&format!("SELECT count(*) = 6 FROM ({loading}) AS pids")).await;
        let same =
            format!("SELECT array(SELECT backend_pid FROM pgsluice.jobs WHERE state = 'running' ORDER BY 1) = array({loading} ORDER BY 1)");
        assert!(db.rows(&same).await[0].get::<_, bool>(0), "round {round}");
        for answer in join_all(loads.into_iter().map(Trickle::finish)).await {
            answer.committed(100_000);
        }
    }
}

#[tokio::test]
async fn cancelled_behind_a_pooler() {
    let db = Database::create().await;
    db.sql("CREATE TABLE t (id int)").await;
    let bouncer = Bouncer::start(&db, SERVER_CONNECTIONS).await;
    let worlds = two_worlds(db, &bouncer, [&["--pgbouncer"], &["--pgbouncer"]]).await;
    let load = Trickle::begin(&worlds[0], "t");
    let id = running_job(&worlds[0], &load).await["id"].as_str().unwrap().to_owned();
    // By way of the other instance.
    assert_eq!(worlds[1].cancel(&id).await.json["state"], "cancelled");
    load.answer().await.problem(409, "cancelled");
    worlds[0]
        .db
        .wait_until("SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = current_database() AND backend_xid IS NOT NULL")
        .await;
    assert_eq!(worlds[0].db.count("t").await, 0);
    worlds[0].load_csv("t", "id\n1\n").await.committed(1);
}

/// Closing the connection does not reach a server process that is busy, and PgBouncer takes no cancel request.
#[tokio::test]
async fn what_a_server_process_is_busy_with_is_cancelled_too() {
    let db = Database::create().await;
    db.sql(
        "CREATE TABLE t (id int); CREATE FUNCTION nap() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(600); RETURN NEW; END'; \
         CREATE TRIGGER nap BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION nap()",
    )
    .await;
    let bouncer = Bouncer::start(&db, SERVER_CONNECTIONS).await;
    let service = Service::start(&bouncer.url, &["--pgbouncer"]).await;
    let world = World::of(db, service);
    let load = Trickle::begin(&world, "t");
    load.send("id\n1\n");
    let job = world.wait_for_job(|job| job["state"] == "running").await;
    let finishing = tokio::spawn(load.finish());
    let asleep = "FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'";
    world.db.wait_until(&format!("SELECT count(*) = 1 {asleep}")).await;
    assert_eq!(world.cancel(job["id"].as_str().unwrap()).await.json["state"], "cancelled");
    finishing.await.unwrap().problem(409, "cancelled");
    world.db.wait_until(&format!("SELECT count(*) = 0 {asleep}")).await;
    // PgBouncer lives.
    assert_eq!(world.get("/v1/jobs").await.status, StatusCode::OK);
}

/// The worst case for whoever goes by process numbers: the instance is killed while the pooler stands still, so that the load's transaction
/// stays open with nobody behind it.
#[tokio::test]
async fn a_transaction_that_a_stuck_pooler_holds_open_is_ended() {
    let db = Database::create().await;
    db.sql("CREATE TABLE t (id int)").await;
    let bouncer = Bouncer::start(&db, SERVER_CONNECTIONS).await;
    let service = Service::start(&bouncer.url, &["--pgbouncer"]).await;
    let mut world = World::of(db, service);
    let load = Trickle::begin(&world, "t");
    let id = running_job(&world, &load).await["id"].as_str().unwrap().to_owned();
    let pids = world.db.loading_pids().await;
    signal(bouncer.pid, "STOP");
    world.service.kill();
    load.abandon().await;
    assert_eq!(world.db.loading_pids().await, pids);

    // This one has another way to the database. It resolves the job before its first answer.
    world.service = Service::start(&world.db.url, &[]).await;
    let job = world.job(&id).await;
    assert_eq!((job["state"].as_str(), job["reason"].as_str()), (Some("failed"), Some("interrupted")), "{job:#}");
    world
        .db
        .wait_until(&format!("SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = {}", pids[0]))
        .await;
    assert_eq!(world.db.count("t").await, 0);
    signal(bouncer.pid, "CONT");
}

#[tokio::test]
async fn two_instances_that_start_at_once_migrate_once() {
    let db = Database::create().await;
    let bouncer = Bouncer::start(&db, SERVER_CONNECTIONS).await;
    let services = join_all((0..4).map(|_| Service::start(&bouncer.url, &["--pgbouncer"]))).await;
    assert_eq!(services.len(), 4);
    let steps = "SELECT count(*) = count(DISTINCT version) AND count(*) > 1 FROM pgsluice.metadata_migrations";
    assert!(db.rows(steps).await[0].get::<_, bool>(0));
    nothing_is_left_behind(&bouncer).await;
}
