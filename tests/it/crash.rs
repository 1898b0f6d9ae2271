//! Killed at any moment, the service finds out at its next start what became of each load, and says so.

use serde_json::Value;

use crate::support::{Service, Trickle, World};

async fn world() -> World {
    let world = World::new().await;
    world.db.sql("CREATE TABLE t (id int)").await;
    world
}

/// Makes the jobs' metadata hang when a job gets to a state, so that the service can be killed just there.
pub(crate) async fn hang_at(world: &World, state: &str) {
    world
        .db
        .sql(&format!(
            "CREATE FUNCTION hang() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(600); RETURN NEW; END'; \
             CREATE TRIGGER hang BEFORE UPDATE ON pgsluice.jobs FOR EACH ROW \
             WHEN (NEW.state = '{state}' AND OLD.state <> '{state}') EXECUTE FUNCTION hang()"
        ))
        .await;
}

pub(crate) async fn kill_when_hanging_and_restart(world: &mut World) -> Value {
    world
        .db
        .wait_until("SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'")
        .await;
    world.service.kill();
    world
        .db
        .sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'")
        .await;
    world
        .db
        .wait_until("SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'")
        .await;
    world.db.sql("DROP TRIGGER hang ON pgsluice.jobs").await;
    restart(world).await
}

/// The only job, right after the start: orphans are resolved before the first request is answered.
async fn restart(world: &mut World) -> Value {
    world.service = Service::start(&world.db.url, &[]).await;
    world.get("/v1/jobs").await.json["jobs"][0].clone()
}

#[tokio::test]
async fn killed_in_mid_load() {
    let mut world = world().await;
    let load = Trickle::begin(&world, "t");
    load.send("id\n");
    load.send("1\n".repeat(500_000));
    world.wait_for_job(|job| job["rows_received"].as_u64() > Some(100_000)).await;
    world.service.kill();
    load.abandon().await;
    let job = restart(&mut world).await;
    assert_eq!((job["state"].as_str(), job["reason"].as_str()), (Some("failed"), Some("interrupted")), "{job:#}");
    assert!(job["error"]["type"].as_str().unwrap().ends_with(":interrupted"));
    assert_eq!(world.db.count("t").await, 0);
    assert!(world.db.loading_pids().await.is_empty());
    world.load_csv("t", "id\n1\n").await.committed(1);
}

#[tokio::test]
async fn killed_after_commit_and_before_the_answer() {
    let mut world = world().await;
    hang_at(&world, "committed").await;
    let load = Trickle::begin(&world, "t");
    load.send("id\n1\n2\n3\n");
    let answer = tokio::spawn(load.finish());
    let job = kill_when_hanging_and_restart(&mut world).await;
    assert!(answer.await.is_err(), "the client was answered before the job was on record");
    assert_eq!((job["state"].as_str(), job["rows_loaded"].as_u64()), (Some("committed"), Some(3)), "{job:#}");
    assert_eq!(world.db.count("t").await, 3);
}

#[tokio::test]
async fn killed_between_ledger_and_commit() {
    let mut world = world().await;
    hang_at(&world, "committing").await;
    let load = Trickle::begin(&world, "t");
    load.send("id\n1\n2\n3\n");
    let answer = tokio::spawn(load.finish());
    let job = kill_when_hanging_and_restart(&mut world).await;
    assert!(answer.await.is_err());
    assert_eq!((job["state"].as_str(), job["reason"].as_str()), (Some("failed"), Some("interrupted")), "{job:#}");
    assert_eq!((world.db.count("t").await, world.db.count("pgsluice.ledger").await), (0, 0));
}

#[tokio::test]
async fn a_metadata_update_lost_after_commit_is_made_up_for_without_a_restart() {
    let world = World::with(&["--command-timeout", "1"]).await;
    world.db.sql("CREATE TABLE t (id int)").await;
    hang_at(&world, "committed").await;
    let answer = world.load_csv("t", "id\n1\n2\n").await;
    let id = answer.committed(2)["id"].as_str().unwrap().to_owned();
    world.db.sql("DROP TRIGGER hang ON pgsluice.jobs").await;
    let job = world.wait_for_job(|job| job["id"] == id.as_str() && job["state"] == "committed").await;
    assert_eq!(job["rows_loaded"], 2);
}

#[tokio::test]
async fn a_metadata_update_lost_after_commit_takes_nothing_from_the_answer() {
    let world = World::with(&["--command-timeout", "1"]).await;
    world.db.sql("CREATE TABLE t (id int)").await;
    hang_at(&world, "committed").await;
    let answer = world.load_csv("t?on_error=skip", "id\n1\nx\n2\n").await;
    let told = answer.committed(2);
    world.db.sql("DROP TRIGGER hang ON pgsluice.jobs").await;
    let id = told["id"].as_str().unwrap();
    let job = world.wait_for_job(|job| job["id"] == id && job["state"] == "committed").await;
    for counts in [told, &job] {
        assert_eq!((&counts["rows_received"], &counts["rows_rejected"]), (&3.into(), &1.into()), "{counts:#}");
        assert_eq!(counts["rejected_by_column"], serde_json::json!({"id": 1}), "{counts:#}");
        assert_eq!(counts["rejects_url"], format!("/v1/jobs/{id}/rejects"), "{counts:#}");
    }
    assert_eq!(told["bytes_received"], 9);
}

#[tokio::test]
async fn a_server_process_killed_in_mid_load() {
    let world = world().await;
    let load = Trickle::begin(&world, "t");
    load.send("id\n");
    load.send("1\n".repeat(500_000));
    world.wait_for_job(|job| job["rows_received"].as_u64() > Some(100_000)).await;
    let pids = world.db.loading_pids().await;
    world.db.sql(&format!("SELECT pg_terminate_backend({})", pids[0])).await;
    load.send("1\n".repeat(500_000));
    let answer = load.finish().await;
    answer.problem(503, "database-unavailable");
    assert_eq!(world.job(answer.json["job_id"].as_str().unwrap()).await["state"], "failed");
    assert_eq!(world.db.count("t").await, 0);
    world.load_csv("t", "id\n1\n").await.committed(1);
}

#[tokio::test]
async fn a_server_process_killed_during_commit_is_asked_after() {
    let world = world().await;
    world.db.make_commits_slow(600).await;
    let load = Trickle::begin(&world, "t");
    load.send("id\n1\n");
    let answer = tokio::spawn(load.finish());
    let job = world.wait_for_job(|job| job["state"] == "committing").await;
    world
        .db
        .wait_until("SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'")
        .await;
    let pids = world.db.loading_pids().await;
    world.db.sql(&format!("SELECT pg_terminate_backend({})", pids[0])).await;
    let answer = answer.await.unwrap();
    answer.problem(503, "database-unavailable");
    assert_eq!(world.job(job["id"].as_str().unwrap()).await["state"], "failed");
    assert_eq!((world.db.count("t").await, world.db.count("pgsluice.ledger").await), (0, 0));
}
