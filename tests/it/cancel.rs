//! A load that is stopped, by whomever, is rolled back and its job gets to a final state that says why.

use std::time::Duration;

use serde_json::Value;

use crate::support::{Answer, Trickle, World};

/// Enough rows that some have reached PostgreSQL and most have not.
fn rows(from: u32) -> String {
    (from..from + 40_000).map(|id| format!("{id}\n")).collect()
}

async fn running(world: &World, table_and_options: &str) -> (Trickle, String) {
    let load = Trickle::begin(world, table_and_options);
    load.send("id\n");
    load.send(rows(0));
    let job = world
        .wait_for_job(|job| job["state"] == "running" && job["rows_received"].as_u64() > Some(10_000))
        .await;
    (load, job["id"].as_str().unwrap().to_owned())
}

async fn world(flags: &[&str]) -> World {
    let world = World::with(flags).await;
    world.db.sql("CREATE TABLE t (id int)").await;
    world
}

async fn ended(world: &World, id: &str, state: &str, reason: &str) -> Value {
    let job = world.wait_for_job(|job| job["id"] == id && !job["finished_at"].is_null()).await;
    assert_eq!((job["state"].as_str(), job["reason"].as_str()), (Some(state), Some(reason)), "{job:#}");
    assert_eq!(job["rows_loaded"], 0);
    world.db.wait_until("SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'ClientRead' AND state = 'active'").await;
    assert_eq!(world.db.count("t").await, 0);
    world.load_csv("t", "id\n1\n").await.committed(1);
    job
}

#[tokio::test]
async fn progress_is_seen_while_it_runs_and_cancel_ends_it() {
    let world = world(&[]).await;
    let (load, id) = running(&world, "t").await;
    let job = world.job(&id).await;
    assert_eq!(job["rows_loaded"], 0);
    assert!(job["bytes_received"].as_u64() > Some(100_000));
    let cancelled = world.cancel(&id).await;
    assert_eq!((cancelled.status.as_u16(), cancelled.json["state"].as_str()), (200, Some("cancelled")));
    let answer = load.answer().await;
    assert_eq!(answer.problem(409, "cancelled")["job_id"], id);
    ended(&world, &id, "cancelled", "cancelled").await;
}

#[tokio::test]
async fn another_instance_can_cancel_it_and_sees_it() {
    let world = world(&[]).await;
    let (load, id) = running(&world, "t").await;
    let other = crate::support::Service::start(&world.db.url, &[]).await;
    let seen = world.http.get(other.url(&format!("/v1/jobs/{id}"))).send().await.unwrap();
    assert_eq!(Answer::of(seen).await.json["state"], "running", "a live instance's job is not an orphan");
    let cancel = world.http.post(other.url(&format!("/v1/jobs/{id}/cancel"))).send().await.unwrap();
    assert_eq!(Answer::of(cancel).await.json["state"], "cancelled");
    load.answer().await.problem(409, "cancelled");
    ended(&world, &id, "cancelled", "cancelled").await;
}

#[tokio::test]
async fn a_client_that_goes_away() {
    let world = world(&[]).await;
    let (load, id) = running(&world, "t").await;
    load.abandon().await;
    let job = world.wait_for_job(|job| job["id"] == id && !job["finished_at"].is_null()).await;
    let reason = job["reason"].as_str().unwrap();
    assert!(["client-disconnected", "truncated-body"].contains(&reason), "{reason}");
    ended(&world, &id, "failed", reason).await;
}

#[tokio::test]
async fn a_client_that_goes_away_while_the_database_works() {
    let world = world(&[]).await;
    world
        .db
        .sql("CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(600); RETURN NULL; END'")
        .await;
    world
        .db
        .sql("CREATE TRIGGER slow AFTER INSERT ON t FOR EACH STATEMENT EXECUTE FUNCTION slow()")
        .await;
    let sent = tokio::time::timeout(Duration::from_secs(2), world.load_csv("t", "id\n1\n")).await;
    assert!(sent.is_err());
    let job = world.wait_for_job(|job| !job["finished_at"].is_null()).await;
    assert_eq!(job["reason"], "client-disconnected");
    world
        .db
        .wait_until("SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'")
        .await;
    world.db.sql("DROP TRIGGER slow ON t").await;
    ended(&world, job["id"].as_str().unwrap(), "failed", "client-disconnected").await;
}

#[tokio::test]
async fn a_client_that_stalls() {
    let world = world(&["--client-stall", "1"]).await;
    let (load, id) = running(&world, "t").await;
    load.answer().await.problem(408, "client-stalled");
    ended(&world, &id, "failed", "client-stalled").await;
}

#[tokio::test]
async fn a_load_that_takes_too_long() {
    let world = world(&[]).await;
    let (load, id) = running(&world, "t?timeout=2").await;
    load.answer().await.problem(504, "load-timeout");
    ended(&world, &id, "failed", "load-timeout").await;
}

#[tokio::test]
async fn a_table_that_somebody_has_locked() {
    let world = world(&["--lock-timeout", "1"]).await;
    let other = world.db.connect().await;
    other.batch_execute("BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let answer = world.load_csv("t", "id\n1\n").await;
    assert_eq!(answer.problem(504, "database-timeout")["sqlstate"], "55P03");
    other.batch_execute("ROLLBACK").await.unwrap();
    let id = answer.json["job_id"].as_str().unwrap();
    ended(&world, id, "failed", "database-timeout").await;
}

#[tokio::test]
async fn a_table_that_changes_under_the_load() {
    let world = world(&["--lock-timeout", "20"]).await;
    let other = world.db.connect().await;
    other.batch_execute("BEGIN; ALTER TABLE t ALTER id TYPE real").await.unwrap();
    let load = Trickle::begin(&world, "t");
    load.send("id\n1\n");
    world.db.wait_until("SELECT count(*) > 0 FROM pg_locks WHERE NOT granted").await;
    other.batch_execute("COMMIT").await.unwrap();
    let answer = load.finish().await;
    answer.problem(409, "table-changed");
    ended(&world, answer.json["job_id"].as_str().unwrap(), "failed", "table-changed").await;
}

#[tokio::test]
async fn sigterm_lets_running_loads_finish() {
    let mut world = world(&["--shutdown-grace", "20"]).await;
    let (load, id) = running(&world, "t").await;
    world.service.signal("TERM");
    // It still answers, but takes nothing new.
    for _ in 0..100 {
        if world.get("/readyz").await.status == 503 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    world.get("/readyz").await.problem(503, "shutting-down");
    assert!(world.load_csv("t", "id\n1\n").await.problem(503, "shutting-down")["detail"].is_string());
    assert_eq!(world.job(&id).await["state"], "running");
    load.send(rows(40_000));
    load.finish().await.committed(80_000);
    assert_eq!(world.service.ended().await, Some(0));
    assert_eq!(world.db.count("t").await, 80_000);
    assert_eq!(world.db.count("pgsluice.instances").await, 0);
}

#[tokio::test]
async fn sigterm_stops_loads_that_outlast_the_grace_period() {
    let mut world = world(&["--shutdown-grace", "1"]).await;
    let (load, id) = running(&world, "t").await;
    world.service.signal("TERM");
    load.answer().await.problem(503, "shutdown");
    assert_eq!(world.service.ended().await, Some(0));
    world.service = crate::support::Service::start(&world.db.url, &[]).await;
    ended(&world, &id, "failed", "shutdown").await;
}
