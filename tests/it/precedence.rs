//! Short queries go before loads: these rest while questions for jobs are late for many, and are loaded whole all the same.

use std::time::Duration;

use futures::future::join_all;

use crate::support::{Database, Scrape, World};

const ROWS: u64 = 300_000;
/// Who ask for jobs again and again.
const CROWD: usize = 16;

/// For how many seconds a load has rested while so many clients asked for jobs, and none was told of any in time.
async fn load_beside(clients: usize, flags: &[&str]) -> f64 {
    let world = World::with(flags).await;
    world.db.sql("CREATE TABLE t (id int, note text)").await;
    let first = world.load_csv("t", "id,note\n0,first\n").await;
    let job = format!("/v1/jobs/{}", first.committed(1)["id"].as_str().unwrap());
    assert_eq!(world.get(&job).await.json["state"], "committed");
    let body: String = (1..=ROWS).map(|id| format!("{id},{}\n", "note ".repeat(10))).collect();
    let load = async { world.load_csv("t", format!("id,note\n{body}")).await };
    let ask = async || {
        loop {
            assert_eq!(world.get(&job).await.json["state"], "committed");
        }
    };
    let answer = tokio::select! {
        answer = load => answer,
        never = join_all((0..clients).map(|_| ask())), if clients > 0 => unreachable!("they have stopped asking: {never:?}"),
        () = make_late(&world.db) => unreachable!("it goes on for ever"),
    };
    answer.committed(ROWS);
    let counted = world.db.rows("SELECT count(*), sum(id) FROM t").await;
    assert_eq!(
        (counted[0].get::<_, i64>(0), counted[0].get::<_, i64>(1)),
        (ROWS as i64 + 1, (ROWS * (ROWS + 1) / 2) as i64)
    );
    Scrape::of(&world).await.sum("pgsluice_bulk_rest_seconds_total", &[])
}

/// Holds up whoever asks for jobs, again and again for a moment.
async fn make_late(db: &Database) {
    loop {
        db.sql("BEGIN; LOCK TABLE pgsluice.jobs; SELECT pg_sleep(0.03); COMMIT").await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_load_rests_while_questions_are_late_and_is_whole() {
    let rested = load_beside(CROWD, &[]).await;
    assert!(rested > 0.0, "it has not rested");
}

#[tokio::test]
async fn a_load_does_not_rest_when_loads_go_first() {
    assert_eq!(load_beside(CROWD, &["--query-delay-max-us", "0"]).await, 0.0);
}

#[tokio::test]
async fn a_load_does_not_rest_when_nobody_asks() {
    assert_eq!(load_beside(0, &["--query-delay-max-us", "1"]).await, 0.0);
}
