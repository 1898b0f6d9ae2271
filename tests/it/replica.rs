//! A read replica answers questions about jobs as long as it may, and nobody is told less than the primary would have told them.

use std::process::Output;
use std::time::Duration;

use serde_json::Value;

use crate::support::{Database, Link, Proxy, Server, Service, Standby, World};

/// A service on a server, with these flags and `t` to load into.
async fn world(server: &Server, flags: &[&str]) -> World {
    let db = server.database().await;
    db.sql("CREATE TABLE IF NOT EXISTS t (id int)").await;
    let service = Service::start(server.url(), &[&["--allow-oversubscription"], flags].concat()).await;
    World::of(db, service)
}

/// A server with a standby, and a service that reads there.
async fn with_replica(flags: &[&str]) -> (World, Server, Standby) {
    let server = Server::start().await;
    let standby = Standby::of(&server).await;
    let world = world(&server, &[&["--read-database-url", &standby.url()], flags].concat()).await;
    wait_until_usable(&world, true).await;
    (world, server, standby)
}

async fn metric(world: &World, name: &str) -> f64 {
    let Value::String(page) = world.get("/metrics").await.json else { panic!("no metrics") };
    let line = page.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim().parse().unwrap()
}

async fn reads(world: &World, outcome: &str) -> f64 {
    metric(world, &format!("pgsluice_replica_reads_total{{outcome=\"{outcome}\"}}")).await
}

async fn wait_until_usable(world: &World, usable: bool) {
    for _ in 0..600 {
        if (metric(world, "pgsluice_replica_usable ").await == 1.0) == usable {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the replica's usability was not {usable} within 30 s");
}

async fn load(world: &World) -> String {
    let answer = world.load_csv("t", "id\n1\n").await;
    answer.committed(1)["id"].as_str().unwrap().to_owned()
}

/// The ids that the list has, the newest first.
async fn listed(world: &World) -> Vec<String> {
    let page = world.get("/v1/jobs").await;
    assert_eq!(page.status, 200, "{:#}", page.json);
    let jobs = page.json["jobs"].as_array().unwrap();
    jobs.iter().map(|job| job["id"].as_str().unwrap().to_owned()).collect()
}

/// The list was the replica's, as soon as it has what this instance has done.
async fn listed_by_replica(world: &World) -> Vec<String> {
    for _ in 0..600 {
        let before = reads(world, "served").await;
        let ids = listed(world).await;
        if reads(world, "served").await > before {
            return ids;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the replica did not answer within 30 s");
}

#[tokio::test]
async fn questions_go_to_the_replica_and_outlive_the_primary() {
    let (world, mut server, _standby) = with_replica(&["--read-lag-max", "120"]).await;
    let job = load(&world).await;
    let said = world.job(&job).await;
    assert_eq!(listed_by_replica(&world).await, [job.as_str()]);
    server.crash().await;
    world.get("/readyz").await.problem(503, "metadata-unavailable");
    // Nothing but the replica could say that now.
    assert_eq!(world.job(&job).await, said);
    assert_eq!(listed(&world).await, [job]);
    // What it does not know, only the primary could.
    let unknown = world.get("/v1/jobs/01890000-0000-7000-8000-000000000000").await;
    unknown.problem(503, "metadata-unavailable");
}

#[tokio::test]
async fn what_this_instance_has_done_is_seen_whatever_the_replica_knows() {
    let (world, server, standby) = with_replica(&["--read-lag-max", "120"]).await;
    let first = load(&world).await;
    assert_eq!(listed_by_replica(&world).await, [first.as_str()]);
    let replica = standby.database().await;
    replica.sql("SELECT pg_wal_replay_pause()").await;
    replica.wait_until("SELECT pg_get_wal_replay_pause_state() = 'paused'").await;

    // Another instance's job: not in the list, which may be so old; but there for whoever names it.
    let other = self::world(&server, &[]).await;
    let theirs = load(&other).await;
    assert_eq!(listed_by_replica(&world).await, [first.as_str()]);
    assert_eq!(world.job(&theirs).await["state"], "committed");

    // One of its own, at once, in both ways.
    let second = load(&world).await;
    assert_eq!(listed(&world).await, [second.clone(), theirs.clone(), first.clone()]);
    assert_eq!(world.job(&second).await["state"], "committed");
    assert_eq!(replica.count("pgsluice.jobs").await, 1);
    let own_changes_missed = reads(&world, "behind").await;
    assert!(own_changes_missed > 0.0);

    replica.sql("SELECT pg_wal_replay_resume()").await;
    assert_eq!(listed_by_replica(&world).await, [second, theirs, first]);
}

#[tokio::test]
async fn a_replica_that_is_too_far_behind_is_not_asked_until_it_has_caught_up() {
    let (world, server, standby) = with_replica(&["--read-lag-max", "2"]).await;
    let replica = standby.database().await;
    replica.sql("SELECT pg_wal_replay_pause()").await;
    wait_until_usable(&world, false).await;
    // The primary is asked: another instance's job is in the list.
    let other = self::world(&server, &[]).await;
    let theirs = load(&other).await;
    let served = reads(&world, "served").await;
    assert_eq!(listed(&world).await, [theirs.as_str()]);
    assert_eq!(world.job(&theirs).await["state"], "committed");
    assert_eq!(reads(&world, "served").await, served);
    assert!(metric(&world, "pgsluice_replica_lag_seconds ").await >= 2.0);
    replica.sql("SELECT pg_wal_replay_resume()").await;
    wait_until_usable(&world, true).await;
    assert_eq!(listed_by_replica(&world).await, [theirs]);
}

/// Its receiver is gone, and what it has it has replayed: by the positions in its log it is not behind at all.
#[tokio::test]
async fn a_replica_that_hears_nothing_of_the_primary_counts_as_behind() {
    let (world, _server, standby) = with_replica(&["--read-lag-max", "2"]).await;
    let replica = standby.database().await;
    let primary = replica.texts("SHOW primary_conninfo").await[0].clone().unwrap();
    replica.sql("ALTER SYSTEM SET primary_conninfo = ''").await;
    replica.sql("SELECT pg_reload_conf()").await;
    wait_until_usable(&world, false).await;
    let up_to_date = "SELECT pg_last_wal_receive_lsn() <= pg_last_wal_replay_lsn() AND count(*) = 0 FROM pg_stat_wal_receiver";
    replica.wait_until(up_to_date).await;
    let back = format!("ALTER SYSTEM SET primary_conninfo = '{}'", primary.replace('\'', "''"));
    replica.sql(&back).await;
    replica.sql("SELECT pg_reload_conf()").await;
    wait_until_usable(&world, true).await;
}

#[tokio::test]
async fn a_replica_that_dies_is_done_without_and_comes_back_by_itself() {
    let (world, _server, mut standby) = with_replica(&[]).await;
    let job = load(&world).await;
    listed_by_replica(&world).await;
    standby.crash();
    for _ in 0..3 {
        assert_eq!(listed(&world).await, [job.as_str()]);
        assert_eq!(world.job(&job).await["state"], "committed");
    }
    assert_eq!(world.get("/readyz").await.status, 200);
    wait_until_usable(&world, false).await;
    standby.start().await;
    wait_until_usable(&world, true).await;
    assert_eq!(listed_by_replica(&world).await, [job]);
}

#[tokio::test]
async fn a_replica_that_says_nothing_is_waited_for_once() {
    let server = Server::start().await;
    let standby = Standby::of(&server).await;
    let proxy = Proxy::before(&standby.url()).await.unwrap();
    let world = world(&server, &["--read-database-url", &proxy.url(&standby.url())]).await;
    wait_until_usable(&world, true).await;
    let job = load(&world).await;
    listed_by_replica(&world).await;
    proxy.set(Link::Silent);
    assert_eq!(listed(&world).await, [job.as_str()]);
    wait_until_usable(&world, false).await;
    let failed = reads(&world, "failed").await;
    assert_eq!(listed(&world).await, [job]);
    assert_eq!(reads(&world, "failed").await, failed);
    proxy.heal();
    wait_until_usable(&world, true).await;
}

#[tokio::test]
async fn a_replica_that_is_not_there_at_the_start_is_no_obstacle() {
    let db = Database::create().await;
    let empty = Database::create().await;
    db.sql("CREATE TABLE t (id int)").await;
    // Nobody listens; and a database that is a replica of nothing.
    for url in ["postgresql://postgres@127.0.0.1:1,127.0.0.1:2/pgsluice", &empty.url] {
        let service = Service::start(&db.url, &["--read-database-url", url]).await;
        let world = World::of(Database::open(db.url.clone(), db.name.clone()).await, service);
        let job = load(&world).await;
        assert_eq!(listed(&world).await[0], job);
        assert_eq!(world.job(&job).await["state"], "committed");
        assert_eq!(world.get("/readyz").await.status, 200);
        assert_eq!(metric(&world, "pgsluice_replica_usable ").await, 0.0);
    }
}

#[tokio::test]
async fn its_url_is_read_at_the_start_and_its_connections_are_in_the_budget() {
    let db = Database::create().await;
    let refused = async |flags: &[&str]| {
        let mut command = Service::command();
        command.args(["--database-url", &db.url]).args(flags);
        let Output { status, stderr, .. } = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        assert_eq!(status.code(), Some(1));
        String::from_utf8(stderr).unwrap()
    };
    let unreadable = refused(&["--read-database-url", "postgresql://u:s3cret@h/d?target_session_attrs=replica"]).await;
    assert!(unreadable.contains("prefer-standby") && !unreadable.contains("s3cret"), "{unreadable}");
    // Twice 30 would fit. The replica is on the same server here, so that its connections count there.
    let over = refused(&["--instances", "2", "--read-database-url", &db.url]).await;
    assert!(over.contains("may open 96 connections"), "{over}");
    Service::start(&db.url, &["--read-database-url", &db.url]).await;
}
