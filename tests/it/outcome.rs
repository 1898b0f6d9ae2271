//! A COMMIT whose answer does not come: the service finds out what became of it before it answers, or says that it does not know.

use std::time::Duration;

use serde_json::Value;

use crate::support::{Link, Proxy, World};

/// As it is sent; `READ COMMITTED` is something else.
const COMMIT: &str = "COMMIT\0";

async fn world(flags: &[&str]) -> (World, Proxy) {
    let (world, proxy) = World::behind_proxy(&[&["--connect-timeout", "2"], flags].concat()).await;
    world.db.sql("CREATE TABLE t (id int)").await;
    (world, proxy)
}

/// The only job, the table and the ledger agree.
async fn settled(world: &World, state: &str, rows: i64) -> Value {
    let job = world.wait_for_job(|job| job["state"] == state).await;
    let ledger = i64::from(rows > 0);
    assert_eq!((world.db.count("t").await, world.db.count("pgsluice.ledger").await), (rows, ledger), "{job:#}");
    assert_eq!(job["rows_loaded"], rows);
    world
        .db
        .wait_until(&format!(
            "SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = '{}' AND application_name = 'pgsluice bulk' \
             AND (xact_start IS NOT NULL OR state <> 'idle')",
            world.db.name
        ))
        .await;
    job
}

#[tokio::test]
async fn the_answer_to_commit_is_swallowed() {
    let (world, proxy) = world(&[]).await;
    proxy.set_when_sent(COMMIT, Link::Deaf);
    world.load_csv("t", "id\n1\n2\n").await.committed(2);
    settled(&world, "committed", 2).await;
}

#[tokio::test]
async fn the_link_is_cut_when_the_answer_to_commit_comes() {
    let (world, proxy) = world(&[]).await;
    proxy.set_when_sent(COMMIT, Link::CutAtAnswer);
    world.load_csv("t", "id\n1\n2\n").await.committed(2);
    settled(&world, "committed", 2).await;
}

#[tokio::test]
async fn commit_itself_is_swallowed() {
    let (world, proxy) = world(&[]).await;
    proxy.set_when_sent(COMMIT, Link::Silent);
    world.load_csv("t", "id\n1\n2\n").await.problem(503, "database-unavailable");
    settled(&world, "failed", 0).await;
}

#[tokio::test]
async fn the_link_is_cut_before_commit() {
    let (world, proxy) = world(&[]).await;
    proxy.set_when_sent(COMMIT, Link::Cut);
    world.load_csv("t", "id\n1\n2\n").await.problem(503, "database-unavailable");
    settled(&world, "failed", 0).await;
}

/// COMMIT takes effect or does not, and nobody can be asked: the one answer that promises nothing.
async fn pending(world: &World, proxy: &Proxy, link: Link) {
    proxy.set_when_sent(COMMIT, link);
    proxy.set_fresh(Link::Silent);
    let answer = world.load_csv("t", "id\n1\n2\n").await;
    let job = answer.problem(503, "outcome-pending")["job_id"].as_str().unwrap().to_owned();
    assert_eq!(answer.headers["location"], format!("/v1/jobs/{job}"));
    let job = world.job(&job).await;
    assert_eq!((job["state"].as_str(), job["finished_at"].is_null()), (Some("committing"), true), "{job:#}");
    // A COMMIT that is still on its way does not arrive any more.
    proxy.set_open(Link::Cut);
    proxy.heal();
}

#[tokio::test]
async fn nobody_can_be_asked_and_it_was_committed() {
    let (world, proxy) = world(&["--bulk-slots", "1"]).await;
    // The slot's connection, so that the fresh ones are those that ask.
    world.load_csv("t", "id\n0\n").await.committed(1);
    world.db.sql("TRUNCATE t, pgsluice.ledger; DELETE FROM pgsluice.jobs").await;
    pending(&world, &proxy, Link::Deaf).await;
    settled(&world, "committed", 2).await;
}

#[tokio::test]
async fn nobody_can_be_asked_and_it_was_not_committed() {
    let (world, proxy) = world(&["--bulk-slots", "1"]).await;
    world.load_csv("t", "id\n0\n").await.committed(1);
    world.db.sql("TRUNCATE t, pgsluice.ledger; DELETE FROM pgsluice.jobs").await;
    pending(&world, &proxy, Link::Silent).await;
    let job = settled(&world, "failed", 0).await;
    assert_eq!(job["reason"], "interrupted");
}

#[tokio::test]
async fn a_target_that_is_away_keeps_no_other_load_from_hearing_of_its_cancellation() {
    // One question to the target may take longer than the client may be silent.
    let (world, proxy) = World::behind_proxy(&["--connect-timeout", "600"]).await;
    world.db.sql("CREATE TABLE t (id int)").await;
    let load = crate::support::Trickle::begin(&world, "t");
    load.send("id\n1\n");
    let job = world.wait_for_job(|job| job["state"] == "running").await;
    let id = job["id"].as_str().unwrap();
    // An orphan of somebody who is gone, in a target that does not answer.
    proxy.set_fresh(Link::Silent);
    let open = proxy.open();
    world
        .db
        .sql(
            "INSERT INTO pgsluice.jobs (id, instance, target, table_name, state, format, mode, backend_pid, backend_start) \
             SELECT gen_random_uuid(), gen_random_uuid(), id, 'public.t', 'running', 'csv', 'append', 1, 1 FROM pgsluice.target",
        )
        .await;
    while proxy.open() == open {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // As another instance does it: only the metadata say so.
    world.db.sql(&format!("UPDATE pgsluice.jobs SET cancel_requested = true WHERE id = '{id}'")).await;
    load.answer().await.problem(409, "cancelled");
    let orphan = world.wait_for_job(|job| job["id"] != id).await;
    assert_eq!(orphan["state"], "running", "{orphan:#}");
    proxy.heal();
    world.wait_for_job(|job| job["id"] != id && job["reason"] == "interrupted").await;
}

#[tokio::test]
async fn a_commit_that_takes_long_is_waited_for() {
    let (world, _proxy) = world(&[]).await;
    world.db.make_commits_slow(8).await;
    world.load_csv("t", "id\n1\n").await.committed(1);
    settled(&world, "committed", 1).await;
}

#[tokio::test]
async fn metadata_that_are_away_between_ledger_and_commit_are_waited_for() {
    let (world, proxy) = metadata_behind_proxy().await;
    proxy.set_when_sent("SET state = 'committing'", Link::Cut);
    let healing = async {
        // Several attempts are cut off until then.
        tokio::time::sleep(Duration::from_secs(2)).await;
        proxy.heal();
    };
    let (answer, ()) = tokio::join!(world.load_csv("t", "id\n1\n2\n"), healing);
    answer.committed(2);
    settled(&world, "committed", 2).await;
}

#[tokio::test]
async fn an_answer_of_the_metadata_that_is_lost_is_asked_for_again() {
    let (world, proxy) = metadata_behind_proxy().await;
    proxy.set_when_sent("SET state = 'committing'", Link::CutAtAnswer);
    let first = world.load_csv("t", "id\n1\n2\n");
    // Every further attempt loses its answer too, until the link is whole again.
    let healing = async {
        world.db.wait_until("SELECT state = 'committing' FROM pgsluice.jobs").await;
        proxy.heal();
    };
    let (answer, ()) = tokio::join!(first, healing);
    answer.committed(2);
    settled(&world, "committed", 2).await;
}

#[tokio::test]
async fn metadata_that_stay_away_are_told_of() {
    let (world, proxy) = metadata_behind_proxy().await;
    let load = crate::support::Trickle::begin(&world, "t");
    load.send("id\n1\n");
    world.wait_for_job(|job| job["state"] == "running").await;
    proxy.set(Link::Cut);
    load.finish().await.problem(503, "metadata-unavailable");
    world.get("/v1/jobs").await.problem(503, "metadata-unavailable");
    world.get("/readyz").await.problem(503, "metadata-unavailable");
    world.load_csv("t", "id\n1\n").await.problem(503, "metadata-unavailable");
    assert_eq!((world.db.count("t").await, world.db.count("pgsluice.ledger").await), (0, 0));
    proxy.heal();
    settled(&world, "failed", 0).await;
    assert_eq!(world.get("/readyz").await.status, 200);
}

/// With a link between the service and the jobs' metadata that can be broken.
async fn metadata_behind_proxy() -> (World, Proxy) {
    let db = crate::support::Database::create().await;
    let proxy = Proxy::before(&db.url).await.unwrap();
    let flags = ["--bulk-database-url", &db.url, "--pool-timeout", "1", "--command-timeout", "1", "--statement-cache-size", "0"];
    let service = crate::support::Service::start(&proxy.url(&db.url), &flags).await;
    db.sql("CREATE TABLE t (id int)").await;
    (World { db, service, http: reqwest::Client::new() }, proxy)
}
