//! Limits of a key: so many requests a minute, so many loads at a time, so many bytes an hour; and no other key feels it.

use reqwest::RequestBuilder;

use crate::support::{Answer, Trickle, World, make_key};

async fn world() -> World {
    let world = World::with(&["--require-keys"]).await;
    world.db.sql("CREATE TABLE t (id int)").await;
    world
}

fn post(world: &World, key: &str) -> RequestBuilder {
    world.post("t", "text/csv").bearer_auth(key)
}

async fn load(world: &World, key: &str, body: impl Into<reqwest::Body>) -> Answer {
    Answer::of(post(world, key).body(body).send().await.unwrap()).await
}

async fn jobs(world: &World, key: &str) -> Answer {
    Answer::of(world.http.get(world.url("/v1/jobs")).bearer_auth(key).send().await.unwrap()).await
}

fn header<'a>(answer: &'a Answer, name: &str) -> &'a str {
    answer.headers[name].to_str().unwrap()
}

#[tokio::test]
async fn requests_a_minute() {
    let world = world().await;
    let key = make_key(&world.db.url, "read", "*.*", &["--rate", "3"]);
    let other = make_key(&world.db.url, "read", "*.*", &["--rate", "3"]);
    let free = make_key(&world.db.url, "read", "*.*", &[]);
    for left in [2, 1, 0] {
        let answer = jobs(&world, &key).await;
        assert_eq!(answer.status, 200);
        assert_eq!(header(&answer, "ratelimit-policy"), "\"requests\";q=3;w=60;qu=\"requests\"");
        assert!(header(&answer, "ratelimit").starts_with(&format!("\"requests\";r={left};t=")), "{answer:?}");
    }
    let answer = jobs(&world, &key).await;
    assert_eq!(answer.problem(429, "quota-exceeded")["violated-policies"], serde_json::json!(["requests"]));
    let after: u64 = header(&answer, "retry-after").parse().unwrap();
    assert!((1..=20).contains(&after), "{after}");
    assert_eq!(jobs(&world, &other).await.status, 200);
    let unlimited = jobs(&world, &free).await;
    assert!(unlimited.status == 200 && !unlimited.headers.contains_key("ratelimit"));
}

#[tokio::test]
async fn loads_at_a_time() {
    let world = world().await;
    let key = make_key(&world.db.url, "load", "t", &["--loads", "1"]);
    let other = make_key(&world.db.url, "load", "t", &[]);
    let first = Trickle::begin_with(post(&world, &key));
    first.send("id\n1\n");
    world.db.wait_until("SELECT count(*) = 1 FROM pgsluice.jobs").await;
    let second = load(&world, &key, "id\n2\n").await;
    assert_eq!(second.problem(429, "quota-exceeded")["violated-policies"], serde_json::json!(["loads"]));
    assert_eq!(header(&second, "ratelimit"), "\"loads\";r=0");
    assert_eq!(header(&second, "ratelimit-policy"), "\"loads\";q=1;qu=\"concurrent-requests\"");
    assert!(second.headers.contains_key("retry-after"));
    // It is loads that count, not questions, and not those of others.
    assert_eq!(jobs(&world, &key).await.status, 200);
    load(&world, &other, "id\n3\n").await.committed(1);
    first.finish().await.committed(1);
    load(&world, &key, "id\n4\n").await.committed(1);
    // However a load ends, it no longer counts.
    load(&world, &key, "id\nx\n").await.problem(422, "bad-row");
    let gone = Trickle::begin_with(post(&world, &key));
    gone.send("id\n5\n");
    world.db.wait_until("SELECT count(*) = 1 FROM pgsluice.jobs WHERE state = 'running'").await;
    gone.abandon().await;
    world.db.wait_until("SELECT count(*) = 0 FROM pgsluice.jobs WHERE state = 'running'").await;
    for _ in 0..100 {
        if load(&world, &key, "id\n6\n").await.status == 201 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("a load that has ended still counts");
}

#[tokio::test]
async fn what_was_loaded_before_needs_no_room_for_a_load() {
    let world = world().await;
    let key = make_key(&world.db.url, "load", "t", &["--loads", "1", "--bytes-per-hour", "1000"]);
    let named = || post(&world, &key).header("Idempotency-Key", "\"nightly\"");
    let first = Trickle::begin_with(named());
    first.send("id\n1\n");
    world.db.wait_until("SELECT count(*) = 1 FROM pgsluice.jobs WHERE state = 'running'").await;
    // It runs, so there is no room for another: but this one is the same.
    let again = Answer::of(named().body("id\n1\n").send().await.unwrap()).await;
    let job = again.problem(409, "idempotency-key-in-progress")["job_id"].clone();
    assert_eq!(header(&again, "location"), format!("/v1/jobs/{}", job.as_str().unwrap()));
    assert_eq!(first.finish().await.committed(1)["id"], job);
    // The bytes of an hour are gone, and a body that says its length and would not fit any more is not needed either.
    load(&world, &key, "id\n".to_owned() + &"1\n".repeat(480)).await.committed(480);
    let long = "id\n".to_owned() + &"1\n".repeat(300);
    load(&world, &key, long.clone()).await.problem(429, "quota-exceeded");
    let replayed = Answer::of(named().body(long).send().await.unwrap()).await;
    assert_eq!(replayed.committed(1)["id"], job);
    assert_eq!(header(&replayed, "idempotent-replayed"), "true");
    assert_eq!(world.db.count("t").await, 481);
}

#[tokio::test]
async fn bytes_an_hour() {
    let world = world().await;
    let key = make_key(&world.db.url, "load", "t", &["--bytes-per-hour", "1000"]);
    let rows = |bytes: usize| "id\n".to_owned() + &"1\n".repeat((bytes - 3) / 2);
    let too_large = load(&world, &key, rows(1003)).await;
    too_large.problem(413, "body-too-large");
    load(&world, &key, rows(603)).await.committed(300);
    // Of a length that is known, nothing is asked for.
    let declared = load(&world, &key, rows(603)).await;
    assert_eq!(declared.problem(429, "quota-exceeded")["violated-policies"], serde_json::json!(["bytes"]));
    assert!(header(&declared, "retry-after").parse::<u64>().unwrap() > 600, "{declared:?}");
    assert!(header(&declared, "ratelimit").starts_with("\"bytes\";r=39"), "{declared:?}");
    assert_eq!(header(&declared, "ratelimit-policy"), "\"bytes\";q=1000;w=3600;qu=\"content-bytes\"");
    assert_eq!(world.db.count("pgsluice.jobs").await, 1);
    // Of one that is not, as much as there is, and then nothing of it is loaded.
    let endless = Trickle::begin_with(post(&world, &key));
    endless.send(rows(203));
    endless.send("1\n".repeat(300));
    endless.answer().await.problem(429, "quota-exceeded");
    assert_eq!(world.db.count("t").await, 300);
    assert_eq!(world.db.count("pgsluice.jobs WHERE reason = 'quota-exceeded' AND state = 'failed'").await, 1);
}
