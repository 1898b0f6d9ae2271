//! Too many loads at once: those that fit run, some wait their turn, the others are told when to come back; nobody is lost.

use std::time::Duration;

use serde_json::Value;

use crate::support::{Answer, Trickle, World};

const CLIENTS: usize = 200;
const POOL_SIZE: usize = 8;

async fn world(flags: &[&str]) -> World {
    let world = World::with(flags).await;
    world.db.sql("CREATE TABLE t (id int8, filler text); CREATE TABLE u (id int8, filler text)").await;
    world
}

/// A load that has a place, and keeps it until it is told to end.
async fn at_work(world: &World, table_and_options: &str) -> Trickle {
    let known = world.get("/v1/jobs").await.json["jobs"].as_array().unwrap().len();
    let load = Trickle::begin(world, table_and_options);
    load.send("id,filler\n1,x\n");
    for _ in 0..600 {
        if world.get("/v1/jobs").await.json["jobs"].as_array().unwrap().len() > known {
            return load;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the load did not begin within 12 s");
}

/// Whether the service has no room for one more, not even to wait.
async fn is_full(world: &World) -> bool {
    let probe = tokio::time::timeout(Duration::from_millis(200), world.load_csv("u", "id,filler\n0,probe\n")).await;
    probe.is_ok_and(|answer| answer.status == 503)
}

/// A load that waits, in a waiting room for one.
async fn in_waiting_room(world: &World, table: &str) -> Trickle {
    for _ in 0..100 {
        let load = Trickle::begin(world, table);
        tokio::time::sleep(Duration::from_millis(100)).await;
        // A probe may have come before it, and have waited in its place.
        while !load.is_answered() {
            if is_full(world).await {
                return load;
            }
        }
    }
    panic!("there is no room to wait");
}

/// Comes back when it is told to, until it is let in; also how often it was sent away.
async fn persevere(world: &World, table: &str, body: &str) -> (Answer, usize) {
    for refusals in 0.. {
        let answer = world.load_csv(table, body.to_owned()).await;
        if answer.status != 503 {
            return (answer, refusals);
        }
        answer.problem(503, "saturated");
        let seconds = answer.headers["retry-after"].to_str().unwrap().parse().unwrap();
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }
    unreachable!()
}

fn descriptors(world: &World) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", world.service.pid())).unwrap().count()
}

#[tokio::test]
async fn two_hundred_clients_on_four_slots_all_get_their_turn() {
    let world = world(&["--bulk-slots", "4", "--pool-size", &POOL_SIZE.to_string()]).await;
    let world = std::sync::Arc::new(world);
    let descriptors_before = descriptors(&world);
    let rows = |client: usize| 1000 + client * 37 % 3000;
    let clients = (0..CLIENTS).map(|client| {
        let world = std::sync::Arc::clone(&world);
        let lines = (0..rows(client)).map(|row| format!("{row},{}\n", "x".repeat(90))).collect::<String>();
        tokio::spawn(async move {
            let (answer, refusals) = persevere(&world, "t", &format!("id,filler\n{lines}")).await;
            answer.committed(rows(client) as u64);
            refusals
        })
    });
    let clients = futures::future::join_all(clients.collect::<Vec<_>>());
    let watching = async {
        loop {
            assert_eq!(world.get("/v1/jobs?limit=1000").await.status, 200);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let refusals: Vec<usize> = tokio::select! {
        refusals = clients => refusals.into_iter().map(Result::unwrap).collect(),
        () = watching => unreachable!(),
    };
    assert!(refusals.iter().sum::<usize>() > 0, "there was room for all of them at once, so this proves nothing");
    let peak_mib = world.service.peak_rss_kib() / 1024;
    assert!(peak_mib < 512, "{peak_mib} MiB");

    let jobs = world.get("/v1/jobs?limit=1000").await.json["jobs"].as_array().unwrap().clone();
    let committed = jobs.iter().filter(|job| job["state"] == "committed").count();
    assert_eq!((jobs.len(), committed), (CLIENTS, CLIENTS), "a load that was turned away has no job");
    assert_eq!(world.db.count("t").await, (0..CLIENTS).map(rows).sum::<usize>() as i64);
    assert_eq!(world.db.count("pgsluice.ledger").await, CLIENTS as i64);
    nothing_is_left(std::sync::Arc::into_inner(world).unwrap(), descriptors_before).await;
}

/// What stays are the idle connections of four slots and of the pool.
async fn nothing_is_left(mut world: World, descriptors_before: usize) {
    let connections = |name: &str, most: usize| {
        format!(
            "SELECT count(*) <= {most} AND bool_and(state = 'idle') FROM pg_stat_activity \
             WHERE datname = '{}' AND application_name = 'pgsluice {name}'",
            world.db.name
        )
    };
    world.db.wait_until(&connections("bulk", 4)).await;
    world.db.wait_until(&connections("oltp", POOL_SIZE)).await;
    // The clients' connections go with the client.
    world.http = reqwest::Client::new();
    let most = descriptors_before + 4 + POOL_SIZE;
    for _ in 0..200 {
        if descriptors(&world) <= most {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{} file descriptors, and {descriptors_before} at the beginning", descriptors(&world));
}

#[tokio::test]
async fn a_full_waiting_room_answers_at_once_and_others_wait_their_turn() {
    let world = world(&["--bulk-slots", "1", "--waiting-loads", "1", "--bulk-slot-wait-ms", "600000"]).await;
    let first = at_work(&world, "t").await;
    let second = in_waiting_room(&world, "u").await;
    let third = world.load_csv("u", "id,filler\n3,x\n").await;
    let detail = third.problem(503, "saturated")["detail"].as_str().unwrap();
    assert!(detail.contains("--waiting-loads"), "{detail}");
    let seconds: u64 = third.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&seconds));
    // Whoever asks is answered, whatever waits.
    assert_eq!(world.get("/v1/jobs").await.status, 200);
    assert_eq!(world.get("/v1/tables/t").await.status, 200);
    assert_eq!(world.get("/readyz").await.status, 200);
    assert!(!second.is_answered());
    second.send("id,filler\n2,x\n");
    first.finish().await.committed(1);
    let job = second.finish().await.committed(1).clone();
    assert!(job["timings_ms"]["queue"].as_u64() > Some(0), "{job:#}");
    assert_eq!((world.db.count("t").await, world.db.count("u").await), (1, 1));
}

#[tokio::test]
async fn a_client_that_leaves_while_it_waits_makes_room() {
    let world = world(&["--bulk-slots", "1", "--waiting-loads", "1", "--bulk-slot-wait-ms", "600000"]).await;
    let first = at_work(&world, "t").await;
    in_waiting_room(&world, "u").await.abandon().await;
    let next = in_waiting_room(&world, "t").await;
    next.send("id,filler\n2,x\n");
    first.finish().await.committed(1);
    next.finish().await.committed(1);
    assert_eq!((world.db.count("t").await, world.db.count("u").await), (2, 0));
}

#[tokio::test]
async fn loads_that_wait_are_turned_away_at_shutdown() {
    let mut world = world(&["--bulk-slots", "1", "--bulk-slot-wait-ms", "600000", "--waiting-loads", "1"]).await;
    let first = at_work(&world, "t").await;
    let waiting = in_waiting_room(&world, "u").await;
    world.service.signal("TERM");
    waiting.answer().await.problem(503, "shutdown");
    first.finish().await.committed(1);
    assert_eq!(world.service.ended().await, Some(0));
    assert_eq!((world.db.count("t").await, world.db.count("u").await), (1, 0));
}

#[tokio::test]
async fn a_table_has_slots_of_its_own_however_it_is_spelled() {
    let world = world(&["--bulk-slots", "3", "--table-slots", "1", "--bulk-slot-wait-ms", "100"]).await;
    let first = at_work(&world, "t").await;
    for spelling in ["t", "public.t", "t", "public.t"] {
        let refused = world.load_csv(spelling, "id,filler\n2,x\n").await;
        let detail = refused.problem(503, "saturated")["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains("public.t has 1 load") && detail.contains("--table-slots"), "{spelling}: {detail}");
        assert!(refused.headers.contains_key("retry-after"));
    }
    // Others go on.
    let other = at_work(&world, "u").await;
    other.finish().await.committed(1);
    first.finish().await.committed(1);
    for spelling in ["t", "public.t"] {
        world.load_csv(spelling, "id,filler\n3,x\n").await.committed(1);
    }
    assert_eq!(world.db.count("t").await, 3);
}

#[tokio::test]
async fn loads_share_a_memory_budget() {
    // A CSV load needs the queues' 2 MiB and twice a record.
    let flags = ["--bulk-slots", "4", "--record-bytes-max", "1048576", "--memory-budget", "7000000", "--bulk-slot-wait-ms", "100"];
    let world = world(&flags).await;
    let first = at_work(&world, "t").await;
    let refused = world.load_csv("u", "id,filler\n2,x\n").await;
    let detail = refused.problem(503, "saturated")["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("--memory-budget") && detail.contains("4194304 bytes"), "{detail}");
    assert!(refused.headers.contains_key("retry-after"));
    first.finish().await.committed(1);
    // One that may need more than there is runs all the same: alone.
    let batch = crate::support::arrow::batch([("id", crate::support::arrow::ints(&[1, 2, 3]))]);
    let body = crate::support::arrow::stream(&[batch]);
    world.load("u", crate::support::arrow::STREAM, body).await.committed(3);
    let jobs = world.get("/v1/jobs").await.json["jobs"].clone();
    assert!(jobs.as_array().unwrap().iter().all(|job: &Value| job["state"] == "committed"), "{jobs:#}");
}
