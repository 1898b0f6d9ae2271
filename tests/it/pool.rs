//! The metadata pool keeps its words: size, overflow, timeouts, recycling, pre-ping, and statements that are bounded.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::join_all;
use pgsluice::config;
use pgsluice::engine::oltp::{Oltp, Param};
use tokio_postgres::types::Type;

use crate::support::{Database, World, signal};

fn settings(db: &Database) -> config::Oltp {
    config::Oltp { url: db.url.clone(), ..config::Oltp::default() }
}

async fn pid(oltp: &Oltp) -> i32 {
    oltp.query("SELECT pg_backend_pid()", &[]).await.unwrap()[0].get(0)
}

/// Open connections of the pool, as the server sees them.
async fn connections(db: &Database) -> i64 {
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'pgsluice oltp'";
    db.rows(sql).await[0].get(0)
}

/// Queries that wait for a lock until it is let go.
const WAIT_FOR_LOCK: &str = "SELECT 1 FROM (SELECT pg_advisory_xact_lock_shared(7)) AS locked";

#[tokio::test]
async fn overflow_is_opened_when_all_are_in_use_and_closed_when_it_comes_back() {
    let db = Database::create().await;
    let oltp = Oltp::new(config::Oltp { pool_size: 2, max_overflow: 3, ..settings(&db) }).unwrap();
    db.sql("SELECT pg_advisory_lock(7)").await;
    let queries: Vec<_> = (0..9)
        .map(|_| {
            tokio::spawn({
                let oltp = oltp.clone();
                async move { oltp.query(WAIT_FOR_LOCK, &[]).await.map(|rows| rows.len()) }
            })
        })
        .collect();
    let waiting = "SELECT count(*) = 5 FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'advisory'";
    db.wait_until(waiting).await;
    let busy = oltp.stats();
    assert_eq!((busy.checked_out, busy.overflow, busy.idle, busy.waiting), (5, 3, 0, 4), "{busy:?}");
    assert_eq!(connections(&db).await, 5);

    db.sql("SELECT pg_advisory_unlock(7)").await;
    for answer in join_all(queries).await {
        assert_eq!(answer.unwrap().unwrap(), 1);
    }
    db.wait_until("SELECT count(*) = 2 FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'pgsluice oltp'")
        .await;
    let after = oltp.stats();
    assert_eq!((after.checked_out, after.overflow, after.idle, after.waiting), (0, 0, 2, 0), "{after:?}");
    assert_eq!((after.opened_total, after.waits_total, after.timeouts_total), (5, 4, 0), "{after:?}");
    assert!(after.wait_total > Duration::ZERO);
}

#[tokio::test]
async fn who_finds_no_connection_waits_for_the_pool_timeout_and_is_told() {
    let db = Database::create().await;
    let pool_timeout = Duration::from_millis(300);
    let oltp = Oltp::new(config::Oltp { pool_size: 1, max_overflow: 0, pool_timeout, ..settings(&db) }).unwrap();
    db.sql("SELECT pg_advisory_lock(7)").await;
    let occupant = tokio::spawn({
        let oltp = oltp.clone();
        async move { oltp.query(WAIT_FOR_LOCK, &[]).await.map(|rows| rows.len()) }
    });
    db.wait_until("SELECT count(*) = 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'advisory'")
        .await;
    let error = oltp.query("SELECT 1", &[]).await.unwrap_err();
    assert!(error.message.contains("pool_size 1, max_overflow 0"), "{error}");
    assert_eq!(oltp.stats().timeouts_total, 1);
    assert_eq!(oltp.stats().waiting, 0);

    db.sql("SELECT pg_advisory_unlock(7)").await;
    assert_eq!(occupant.await.unwrap().unwrap(), 1);
    oltp.query("SELECT 1", &[]).await.unwrap();
    assert_eq!(oltp.stats().opened_total, 1);
}

#[tokio::test]
async fn connections_are_used_again_until_they_are_too_old() {
    let db = Database::create().await;
    let lasting = Oltp::new(settings(&db)).unwrap();
    assert_eq!(pid(&lasting).await, pid(&lasting).await);
    assert_eq!(lasting.stats().recycled_total, 0);

    let fleeting = Oltp::new(config::Oltp { pool_recycle: Duration::ZERO, ..settings(&db) }).unwrap();
    let pids = BTreeSet::from([pid(&fleeting).await, pid(&fleeting).await, pid(&fleeting).await]);
    assert_eq!(pids.len(), 3);
    assert_eq!(fleeting.stats().recycled_total, 2);
}

#[tokio::test]
async fn connections_that_the_server_has_ended_are_replaced_without_an_error() {
    let db = Database::create().await;
    let oltp = Oltp::new(settings(&db)).unwrap();
    join_all((0..6).map(|_| oltp.query("SELECT pg_sleep(0.1)", &[]))).await;
    let others = "FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'pgsluice oltp'";
    db.rows(&format!("SELECT pg_terminate_backend(pid, 30000) {others}")).await;
    // So long that each is asked whether it lives, should it not be known.
    tokio::time::sleep(Duration::from_millis(600)).await;
    for answer in join_all((0..6).map(|_| oltp.query("SELECT 1", &[]))).await {
        answer.unwrap();
    }
}

#[tokio::test]
async fn a_connection_that_does_not_answer_is_found_out_before_a_query_is_lost_on_it() {
    let db = Database::create().await;
    let oltp = Oltp::new(settings(&db)).unwrap();
    let stuck = pid(&oltp).await;
    signal(stuck.unsigned_abs(), "STOP");
    tokio::time::sleep(Duration::from_millis(600)).await;
    let other = pid(&oltp).await;
    signal(stuck.unsigned_abs(), "CONT");
    assert_ne!(stuck, other);
    assert_eq!(oltp.stats().ping_failures_total, 1);
    // Its connection is closed: the server process has nobody left.
    db.wait_until(&format!("SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = {stuck}")).await;
}

#[tokio::test]
async fn a_query_without_an_answer_ends_at_the_command_timeout_on_the_server_too() {
    let db = Database::create().await;
    let command_timeout = Duration::from_millis(300);
    let oltp = Oltp::new(config::Oltp { pool_size: 1, max_overflow: 0, command_timeout, ..settings(&db) }).unwrap();
    let error = oltp.query("SELECT pg_sleep(120)", &[]).await.unwrap_err();
    assert!(error.message.contains("no answer to a query"), "{error}");
    db.wait_until("SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'")
        .await;
    oltp.query("SELECT 1", &[]).await.unwrap();
    let stats = oltp.stats();
    assert_eq!((stats.command_timeouts_total, stats.opened_total, stats.checked_out), (1, 2, 0), "{stats:?}");
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_nobody_its_answer() {
    let db = Database::create().await;
    let oltp = Oltp::new(config::Oltp { pool_size: 1, max_overflow: 0, ..settings(&db) }).unwrap();
    let before = pid(&oltp).await;
    for _ in 0..5 {
        let asking = oltp.query("SELECT pg_sleep(0.2), 'somebody else''s'", &[]);
        assert!(tokio::time::timeout(Duration::from_millis(50), asking).await.is_err());
        assert_eq!(pid(&oltp).await, before);
    }
    assert_eq!(oltp.stats().opened_total, 1);
}

#[tokio::test]
async fn statements_are_prepared_once_and_the_least_recently_used_makes_room() {
    let db = Database::create().await;
    let one_connection = config::Oltp { pool_size: 1, max_overflow: 0, ..settings(&db) };
    let prepared = "SELECT statement FROM pg_prepared_statements ORDER BY 1";
    let texts = async |oltp: &Oltp| -> Vec<String> { oltp.query(prepared, &[]).await.unwrap().iter().map(|row| row.get(0)).collect() };

    let oltp = Oltp::new(config::Oltp { statement_cache_size: 3, ..one_connection.clone() }).unwrap();
    for sql in ["SELECT 1", "SELECT 2", "SELECT 1", "SELECT 3", "SELECT 1"] {
        oltp.query(sql, &[]).await.unwrap();
    }
    // Preparing this question was one too many: the one that was not used for longest has gone.
    texts(&oltp).await;
    assert_eq!(texts(&oltp).await, ["SELECT 1", "SELECT 3", prepared]);
    let stats = oltp.stats();
    assert_eq!((stats.statement_hits_total, stats.statement_misses_total), (3, 4), "{stats:?}");

    // The same text with other types is another statement.
    let echo = async |params: &[Param<'_>]| oltp.query("SELECT $1", params).await.unwrap().len();
    assert_eq!(
        echo(&[(&1i32, Type::INT4)]).await + echo(&[(&"a", Type::TEXT)]).await + echo(&[(&2i32, Type::INT4)]).await,
        3
    );

    let off = Oltp::new(config::Oltp { statement_cache_size: 0, ..one_connection }).unwrap();
    off.query("SELECT 1", &[]).await.unwrap();
    assert!(texts(&off).await.is_empty());
    assert_eq!((off.stats().statement_hits_total, off.stats().statement_misses_total), (0, 0));
}

#[tokio::test]
async fn a_prepared_statement_outlives_a_change_of_its_table() {
    let db = Database::create().await;
    db.sql("CREATE TABLE t (a int); INSERT INTO t VALUES (1)").await;
    let oltp = Oltp::new(config::Oltp { pool_size: 1, max_overflow: 0, ..settings(&db) }).unwrap();
    let first: i32 = oltp.query("SELECT a FROM t", &[]).await.unwrap()[0].get(0);
    db.sql("ALTER TABLE t ALTER a TYPE text USING a::text || '!'").await;
    for _ in 0..2 {
        let then: String = oltp.query("SELECT a FROM t", &[]).await.unwrap()[0].get(0);
        assert_eq!((first, then.as_str()), (1, "1!"));
    }
    assert_eq!(oltp.stats().opened_total, 1);
}

#[tokio::test]
async fn two_statements_go_together_and_an_error_of_one_is_the_answer() {
    let db = Database::create().await;
    for statement_cache_size in [0, 100] {
        let oltp = Oltp::new(config::Oltp { pool_size: 1, max_overflow: 0, statement_cache_size, ..settings(&db) }).unwrap();
        let params: [Param<'_>; 1] = [(&5i32, Type::INT4)];
        let (one, other) = oltp.query_both(("SELECT $1 + 1", &params), ("SELECT 'b'", &[])).await.unwrap();
        assert_eq!((one[0].get::<_, i32>(0), other[0].get::<_, &str>(0)), (6, "b"));
        let error = oltp.query_both(("SELECT 1 / ($1 - 5)", &params), ("SELECT 'b'", &[])).await.unwrap_err();
        assert_eq!(error.sqlstate.as_deref(), Some("22012"));
        // A plain error leaves the connection as it was.
        oltp.query("SELECT 1", &[]).await.unwrap();
        assert_eq!(oltp.stats().opened_total, 1);
    }
}

#[tokio::test]
async fn one_connection_is_enough_for_a_service_and_has_the_name_that_it_was_given() {
    let world = World::with(&["--pool-size", "1", "--max-overflow", "0", "--application-name", "night shift"]).await;
    world.db.sql("CREATE TABLE t (a int)").await;
    world.load_csv("t?header=absent", "1\n").await.committed(1);
    let answers = join_all((0..100).map(|_| world.get("/v1/jobs"))).await;
    assert!(answers.iter().all(|answer| answer.json["jobs"][0]["state"] == "committed"));
    let names =
        "SELECT DISTINCT application_name FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() ORDER BY 1";
    let names: Vec<_> = world.db.texts(names).await.into_iter().flatten().collect();
    assert_eq!(names, ["night shift bulk", "night shift events", "night shift oltp"]);
    let connections = "SELECT count(*)::text FROM pg_stat_activity WHERE application_name = 'night shift oltp'";
    assert_eq!(world.db.texts(connections).await, [Some("1".to_owned())]);
}
