//! URLs with several hosts, and what becomes of loads when the primary dies and its standby is promoted: two real servers.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use pgsluice::config;
use pgsluice::engine::oltp::Oltp;

use crate::support::{Answer, Database, Link, Proxy, Server, Service, Standby, Trickle, World};

/// Rows of each load.
const ROWS: usize = 2_000;

/// One URL for both servers, in this order.
fn both(first: &str, second: &str) -> String {
    let host = |url: &str| url.split('@').nth(1).unwrap().split('/').next().unwrap().to_owned();
    first.replace(&host(first), &format!("{},{}", host(first), host(second)))
}

/// A primary with a table `t` and a standby without which it acknowledges no COMMIT, and a service that knows both.
async fn world() -> (World, Server, Standby) {
    let server = Server::start().await;
    let db = server.database().await;
    db.sql("CREATE TABLE t (load text, row int)").await;
    let standby = Standby::of(&server).await;
    // After the copy was made, which would wait for a standby of its own otherwise.
    db.sql("ALTER SYSTEM SET synchronous_standby_names = '*'").await;
    db.sql("SELECT pg_reload_conf()").await;
    db.wait_until("SELECT count(*) = 1 FROM pg_stat_replication WHERE sync_state = 'sync'").await;
    let url = both(server.url(), &standby.url());
    let flags = ["--connect-timeout", "4", "--pool-timeout", "2", "--allow-oversubscription"];
    let service = Service::start(&url, &flags).await;
    (World::of(db, service), server, standby)
}

/// Waits until the service is ready, for at most as long as it may take; how long it took.
async fn ready_again(world: &World) -> Duration {
    let since = Instant::now();
    while world.get("/readyz").await.status != 200 {
        assert!(since.elapsed() < Duration::from_secs(10), "not ready within 10 s of the promotion");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    since.elapsed()
}

/// What clients were told of their loads.
#[derive(Default)]
struct Told {
    committed: BTreeMap<String, u64>,
    failed: Vec<String>,
    /// by the job's id
    pending: Vec<(String, String)>,
}

struct Clients {
    world: World,
    number: AtomicU64,
    committed: AtomicU64,
    failed: AtomicU64,
    stop: AtomicBool,
}

impl Clients {
    async fn send(&self, load: &str, key: bool) -> Answer {
        let body: String = (0..ROWS).map(|row| format!("{load},{row}\n")).collect();
        let mut request = self.world.post("t", "text/csv").body(format!("load,row\n{body}"));
        if key {
            request = request.header("Idempotency-Key", load);
        }
        Answer::of(request.send().await.unwrap()).await
    }

    /// Sends loads until it is told to stop: each of them once, or with a key until it is committed.
    async fn run(&self, with_keys: bool) -> Told {
        let mut told = Told::default();
        while !self.stop.load(Relaxed) {
            let load = format!("load-{}", self.number.fetch_add(1, Relaxed));
            let mut answer = self.send(&load, with_keys).await;
            while with_keys && answer.status != 201 {
                assert!([409, 503].contains(&answer.status.as_u16()), "{:#}", answer.json);
                tokio::time::sleep(Duration::from_millis(50)).await;
                answer = self.send(&load, with_keys).await;
            }
            if answer.status == 201 {
                self.committed.fetch_add(1, Relaxed);
                told.committed.insert(load, answer.json["rows_loaded"].as_u64().unwrap());
            } else if answer.json["type"] == "urn:problem-type:pgsluice:outcome-pending" {
                told.pending.push((load, answer.json["job_id"].as_str().unwrap().to_owned()));
            } else {
                assert_eq!(answer.status, 503, "{:#}", answer.json);
                self.failed.fetch_add(1, Relaxed);
                told.failed.push(load);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        told
    }

    async fn wait_for_commits(&self, more: u64) {
        wait_for(&self.committed, more, "committed").await;
    }

    async fn wait_for_failures(&self, more: u64) {
        wait_for(&self.failed, more, "refused").await;
    }
}

async fn wait_for(counter: &AtomicU64, more: u64, what: &str) {
    let wanted = counter.load(Relaxed) + more;
    for _ in 0..1200 {
        if counter.load(Relaxed) >= wanted {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("fewer than {more} loads were {what} within 60 s");
}

#[tokio::test]
async fn a_standby_is_promoted_under_running_loads_and_no_answer_was_wrong() {
    let (world, mut server, standby) = world().await;
    let clients = Arc::new(Clients {
        world,
        number: AtomicU64::new(0),
        committed: AtomicU64::new(0),
        failed: AtomicU64::new(0),
        stop: AtomicBool::new(false),
    });
    let at_work: Vec<_> = [true, true, false, false]
        .map(|with_keys| {
            let clients = Arc::clone(&clients);
            tokio::spawn(async move { clients.run(with_keys).await })
        })
        .into();
    clients.wait_for_commits(20).await;
    server.crash().await;
    // Else it may be over before anybody has noticed.
    clients.wait_for_failures(1).await;
    standby.promote().await;
    eprintln!("ready {:?} after the promotion", ready_again(&clients.world).await);
    clients.wait_for_commits(20).await;
    clients.stop.store(true, Relaxed);

    let mut told = Told::default();
    for worker in at_work {
        let Told { committed, failed, pending } = worker.await.unwrap();
        told.committed.extend(committed);
        told.failed.extend(failed);
        told.pending.extend(pending);
    }
    let world = &clients.world;
    for (load, job) in std::mem::take(&mut told.pending) {
        let path = "/v1/jobs?state=committing&limit=1000";
        for _ in 0..600 {
            let open = world.get(path).await.json["jobs"].as_array().unwrap().clone();
            if open.iter().all(|open| open["id"] != job.as_str()) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        match world.job(&job).await["state"].as_str() {
            Some("committed") => drop(told.committed.insert(load, ROWS as u64)),
            Some("failed") => told.failed.push(load),
            other => panic!("job {job} of {load} is {other:?}"),
        }
    }
    eprintln!("{} loads committed, {} failed", told.committed.len(), told.failed.len());

    // What is in the table is what was said to be, and the ledger and the jobs agree.
    let db = standby.database().await;
    let found: BTreeMap<String, u64> = db
        .rows("SELECT load, count(*), count(DISTINCT row) FROM t GROUP BY load")
        .await
        .iter()
        .map(|row| {
            let (rows, distinct): (i64, i64) = (row.get(1), row.get(2));
            assert_eq!(rows, distinct, "{} is there twice", row.get::<_, String>(0));
            (row.get(0), rows as u64)
        })
        .collect();
    assert_eq!(found, told.committed);
    db.wait_until("SELECT count(*) = 0 FROM pgsluice.jobs WHERE state IN ('running', 'committing')")
        .await;
    let disagreeing = "SELECT count(*) FROM pgsluice.jobs FULL JOIN pgsluice.ledger ON id = job_id \
                       WHERE (state = 'committed') IS DISTINCT FROM (job_id IS NOT NULL)";
    assert_eq!(db.rows(disagreeing).await[0].get::<_, i64>(0), 0);
    assert_eq!(db.count("pgsluice.ledger").await as usize, told.committed.len());
}

#[tokio::test]
async fn an_old_primary_that_comes_back_is_not_gone_back_to() {
    let (world, mut server, mut standby) = world().await;
    world.load_csv("t", "load,row\nfirst,1\n").await.committed(1);
    server.crash().await;
    standby.promote().await;
    ready_again(&world).await;
    world.load_csv("t", "load,row\nsecond,1\n").await.committed(1);
    // It knows of no failover, and would take everything.
    server.restart().await;
    let old = server.database().await;
    old.sql("ALTER SYSTEM RESET synchronous_standby_names").await;
    old.sql("SELECT pg_reload_conf()").await;
    world.load_csv("t", "load,row\nthird,1\n").await.committed(1);
    assert_eq!(standby.database().await.count("t").await, 3);
    // Not even when it is the only one that is there.
    standby.crash();
    for _ in 0..5 {
        let refused = world.load_csv("t", "load,row\nfourth,1\n").await;
        assert_eq!(refused.status, 503, "{:#}", refused.json);
        let unready = world.get("/readyz").await;
        let detail = unready.problem(503, "metadata-unavailable")["detail"].as_str().unwrap();
        assert!(detail.contains("old primary"), "{detail}");
    }
    assert_eq!(old.count("t").await, 1);
    standby.start().await;
    ready_again(&world).await;
    world.load_csv("t", "load,row\nfifth,1\n").await.committed(1);
    assert_eq!((standby.database().await.count("t").await, old.count("t").await), (4, 1));
}

/// As when its power fails: no connection is refused and none is closed. Its watchdogs would take minutes.
#[tokio::test]
async fn a_primary_that_falls_silent_holds_up_no_load_after_the_failover() {
    let server = Server::start().await;
    let db = server.database().await;
    db.sql("CREATE TABLE t (load text, row int)").await;
    let standby = Standby::of(&server).await;
    let proxy = Proxy::before(server.url()).await.unwrap();
    let url = both(&proxy.url(server.url()), &standby.url());
    let world = World::of(db, Service::start(&url, &["--allow-oversubscription", "--bulk-slots", "1"]).await);
    world.load_csv("t", "load,row\nfirst,1\n").await.committed(1);
    standby.database().await.wait_until("SELECT count(*) = 1 FROM t").await;
    let caught = Trickle::begin(&world, "t");
    caught.send("load,row\nsecond,1\n");
    world.wait_for_job(|job| job["state"] == "running").await;
    proxy.set(Link::Silent);
    standby.promote().await;
    eprintln!("ready {:?} after the promotion", ready_again(&world).await);
    let answer = tokio::time::timeout(Duration::from_secs(30), caught.finish()).await.expect("an answer within 30 s");
    assert!(answer.problem(503, "database-unavailable")["detail"].as_str().unwrap().contains("taken over"));
    // The one slot is free again, though the old primary has not said a word.
    for _ in 0..200 {
        let answer = world.load_csv("t", "load,row\nthird,1\n").await;
        if answer.status != 503 {
            answer.committed(1);
            assert_eq!(standby.database().await.texts("SELECT load FROM t ORDER BY load").await.len(), 2);
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("no load was taken within 20 s");
}

#[tokio::test]
async fn a_standby_alone_takes_no_load_and_knows_no_outcome() {
    let (world, mut server, standby) = world().await;
    server.crash().await;
    let refused = world.load_csv("t", "load,row\na,1\n").await;
    assert_eq!(refused.status, 503, "{:#}", refused.json);
    let unready = world.get("/readyz").await;
    let detail = unready.problem(503, "metadata-unavailable")["detail"].as_str().unwrap();
    assert!(detail.contains("standby in recovery"), "{detail}");
    standby.promote().await;
    ready_again(&world).await;
    world.load_csv("t", "load,row\na,1\n").await.committed(1);
}

/// A standby has the COMMIT on its disk, and the primary therefore took effect; but it does not show it yet. Whoever took that for an answer
/// would tell the client that nothing was loaded.
#[tokio::test]
async fn a_commit_that_the_standby_has_not_replayed_yet_is_pending_and_not_taken_for_none() {
    let metadata = Database::create().await;
    let mut server = Server::start().await;
    let db = server.database().await;
    db.sql("CREATE TABLE t (load text, row int)").await;
    Service::start(server.url(), &["--allow-oversubscription"]).await;
    let standby = Standby::of(&server).await;
    db.sql("ALTER SYSTEM SET synchronous_standby_names = '*'").await;
    db.sql("SELECT pg_reload_conf()").await;
    db.wait_until("SELECT count(*) = 1 FROM pg_stat_replication WHERE sync_state = 'sync'").await;
    let proxy = Proxy::before(server.url()).await.unwrap();
    // Even so that the standby would do.
    let target = format!("{}?target_session_attrs=any", both(&proxy.url(server.url()), &standby.url()));
    let flags = ["--bulk-database-url", &target, "--connect-timeout", "2", "--allow-oversubscription"];
    let world = World::of(db, Service::start(&metadata.url, &flags).await);

    let replica = standby.database().await;
    replica.sql("SELECT pg_wal_replay_pause()").await;
    replica.wait_until("SELECT pg_get_wal_replay_pause_state() = 'paused'").await;
    proxy.set_when_sent("COMMIT\0", Link::Deaf);
    let load = tokio::spawn(world.post("t", "text/csv").body("load,row\nfirst,1\n").send());
    world.db.wait_until("SELECT count(*) = 1 FROM t").await;
    server.crash().await;
    let answer = Answer::of(load.await.unwrap().unwrap()).await;
    assert_eq!((replica.count("t").await, replica.count("pgsluice.ledger").await), (0, 0));
    let job = answer.problem(503, "outcome-pending")["job_id"].as_str().unwrap().to_owned();
    assert_eq!(world.job(&job).await["state"], "committing");

    standby.promote().await;
    let job = world.wait_for_job(|job| job["state"] != "committing").await;
    assert_eq!((job["state"].as_str(), job["rows_loaded"].as_u64()), (Some("committed"), Some(1)));
    assert_eq!(standby.database().await.count("t").await, 1);
}

/// Nobody has told the old primary, and it takes the COMMIT of a load that it still has. What it says of that is of no account.
#[tokio::test]
async fn a_commit_on_the_old_primary_after_the_failover_is_none() {
    let metadata = Database::create().await;
    let server = Server::start().await;
    let db = server.database().await;
    db.sql("CREATE TABLE t (load text, row int)").await;
    db.make_commits_slow(5).await;
    Service::start(server.url(), &["--allow-oversubscription"]).await;
    let standby = Standby::of(&server).await;
    let proxy = Proxy::before(server.url()).await.unwrap();
    let target = both(&proxy.url(server.url()), &standby.url());
    let flags = ["--bulk-database-url", &target, "--connect-timeout", "2", "--allow-oversubscription"];
    let world = World::of(db, Service::start(&metadata.url, &flags).await);

    let load = Trickle::begin(&world, "t");
    load.send("load,row\nfirst,1\n");
    world.wait_for_job(|job| job["state"] == "running").await;
    standby.promote().await;
    // Whoever connects from now on gets to the new one, as the first who looks after the COMMIT does; the load goes on where it is.
    proxy.set_fresh(Link::Cut);
    let answer = load.finish().await;
    world.db.wait_until("SELECT count(*) = 1 FROM t").await;
    let job = answer.problem(503, "database-unavailable")["job_id"].as_str().unwrap();
    assert_eq!(world.job(job).await["state"], "failed");
    let new = standby.database().await;
    assert_eq!((new.count("t").await, new.count("pgsluice.ledger").await), (0, 0));
}

/// A URL with one name, behind which another server answers after a while: only what is asked there can tell.
#[tokio::test]
async fn a_single_name_that_leads_to_a_standby_is_not_ready() {
    let server = Server::start().await;
    let metadata = Database::create().await;
    let db = server.database().await;
    db.sql("CREATE TABLE t (load text, row int)").await;
    Service::start(server.url(), &["--allow-oversubscription"]).await;
    let standby = Standby::of(&server).await;
    let flags = ["--bulk-database-url", &standby.url(), "--allow-oversubscription"];
    let world = World::of(db, Service::start(&metadata.url, &flags).await);
    let unready = world.get("/readyz").await;
    let detail = unready.problem(503, "database-unavailable")["detail"].as_str().unwrap();
    assert!(detail.contains("standby in recovery"), "{detail}");
    let refused = world.load_csv("t", "load,row\na,1\n").await;
    assert_eq!(refused.problem(503, "database-unavailable")["sqlstate"], "25006");
}

#[tokio::test]
async fn a_host_that_refuses_or_is_silent_takes_its_share_of_the_time_and_no_more() {
    let db = Database::create().await;
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = format!("postgresql://postgres@{}/d", silent.local_addr().unwrap());
    for dead in ["postgresql://postgres@127.0.0.1:1/d", &silent] {
        let url = both(&db.url, dead);
        let (own, other) = url.split_once('@').unwrap().1.split_once('/').unwrap().0.split_once(',').unwrap();
        // The dead one first.
        let url = url.replace(&format!("{own},{other}"), &format!("{other},{own}"));
        let settings = config::Oltp { url, pool_timeout: Duration::from_secs(3), ..config::Oltp::default() };
        let oltp = Oltp::new(settings).unwrap();
        oltp.query("SELECT 1", &[]).await.unwrap();
    }
}

#[tokio::test]
async fn connections_to_a_server_that_takes_no_writes_any_more_are_thrown_away() {
    let db = Database::create().await;
    db.sql("CREATE TABLE t (id int)").await;
    let oltp = Oltp::new(config::Oltp { url: db.url.clone(), ..config::Oltp::default() }).unwrap();
    // As a session behind a name or a pooler finds itself on a demoted server.
    oltp.query("SELECT set_config('default_transaction_read_only', 'on', false)", &[]).await.unwrap();
    let error = oltp.query("INSERT INTO t VALUES (1)", &[]).await.unwrap_err();
    assert_eq!(error.sqlstate.as_deref(), Some("25006"));
    assert!(error.is_passing());
    assert_eq!(oltp.stats().idle, 0);
    oltp.query("INSERT INTO t VALUES (1)", &[]).await.unwrap();
}
