//! A PostgreSQL that is held up holds up the client, and nothing piles up in between.

use std::time::Duration;

use crate::support::{World, signal};

#[tokio::test]
async fn a_stopped_backend_makes_the_client_wait_and_memory_stays_flat() {
    let world = World::with(&["--client-stall", "2"]).await;
    world.db.sql("CREATE TABLE t (id int8, filler text)").await;
    let row = format!("1,{}\n", "x".repeat(98));
    let rows = 3_000_000;
    let pieces = std::iter::once("id,filler\n".to_owned()).chain(std::iter::repeat_n(row.repeat(1000), rows / 1000));
    let body = reqwest::Body::wrap_stream(futures::stream::iter(pieces.map(Ok::<_, std::io::Error>)));
    let request = world.post("t", "text/csv").body(body);
    let load = tokio::spawn(async move { crate::support::Answer::of(request.send().await.unwrap()).await });

    world.wait_for_job(|job| job["rows_received"].as_u64() > Some(200_000)).await;
    let backend = world.db.loading_pids().await[0].cast_unsigned();
    stop_alone(&world, backend).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = (world.service.rss_kib(), received(&world).await);
    // Longer than the time for which a client may stall: the client is not to blame.
    tokio::time::sleep(Duration::from_secs(8)).await;
    let after = (world.service.rss_kib(), received(&world).await);
    assert!(!load.is_finished());
    signal(backend, "CONT");
    assert_eq!(before.1, after.1, "the body was read on although nobody took the rows");
    assert!(after.0 < before.0 + 4096, "memory grew from {} to {} KiB", before.0, after.0);
    load.await.unwrap().committed(rows as u64);
}

/// Stops a server process at a moment at which it holds nothing that the rest of the server waits for: stopped in the middle of writing
/// WAL, it would hold up every commit, also those of other tests.
async fn stop_alone(world: &World, backend: u32) {
    world.db.sql("CREATE TABLE probe (n int)").await;
    let probe = world.db.connect().await;
    for _ in 0..200 {
        signal(backend, "STOP");
        let write = probe.batch_execute("INSERT INTO probe VALUES (1)");
        if tokio::time::timeout(Duration::from_millis(300), write).await.is_ok() {
            return;
        }
        signal(backend, "CONT");
        tokio::time::sleep(Duration::from_millis(7)).await;
    }
    panic!("the server process always holds something");
}

async fn received(world: &World) -> u64 {
    world.get("/v1/jobs").await.json["jobs"][0]["bytes_received"].as_u64().unwrap()
}

#[tokio::test]
async fn an_idle_connection_that_is_frozen_does_not_freeze_the_next_load() {
    let world = World::with(&["--bulk-slots", "1"]).await;
    world.db.sql("CREATE TABLE t (id int)").await;
    world.load_csv("t", "id\n1\n").await.committed(1);
    let idle = format!(
        "SELECT pid FROM pg_stat_activity WHERE datname = '{}' AND application_name = 'pgsluice bulk'",
        world.db.name
    );
    let backend = world.db.rows(&idle).await[0].get::<_, i32>(0).cast_unsigned();
    signal(backend, "STOP");
    world.load_csv("t", "id\n2\n").await.committed(1);
    signal(backend, "CONT");
}
