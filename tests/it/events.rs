//! Server-sent events: each change of a job is seen, on whichever instance, by whoever may see it, and nothing is missed by whoever comes
//! back.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::support::{Answer, Bouncer, Database, Events, Service, Trickle, World, keys, make_key};

async fn world(flags: &[&str]) -> World {
    let world = World::with(flags).await;
    world.db.sql("CREATE TABLE t (id int)").await;
    world
}

fn path(id: &str) -> String {
    format!("/v1/jobs/{id}/events")
}

async fn follow(world: &World, service: &Service, path: &str) -> Events {
    Events::open(world.http.get(service.url(path))).await
}

/// A load that has a job and goes on.
async fn running(world: &World) -> (Trickle, String) {
    let load = Trickle::begin(world, "t");
    load.send("id\n1\n");
    let job = world.wait_for_job(|job| job["state"] == "running").await;
    (load, job["id"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_job_is_followed_to_its_end() {
    let world = world(&[]).await;
    let (load, id) = running(&world).await;
    let mut events = follow(&world, &world.service, &path(&id)).await;
    let first = events.next().await.unwrap();
    assert_eq!((first.state(), first.kind.as_str()), ("running", "job"));
    load.send("2\n".repeat(100_000));
    let progress = events.next_where(|event| event.job["rows_received"].as_u64() > Some(50_000)).await;
    assert_eq!(progress.state(), "running");
    assert!(progress.id.parse::<i64>().unwrap() > first.id.parse().unwrap());
    load.finish().await.committed(100_001);
    let rest = events.rest().await;
    let last = rest.last().unwrap();
    assert_eq!((last.state(), last.id.as_str()), ("committed", "end"));
    assert_eq!(last.job, world.job(&id).await);
    // Whoever comes later sees the end, and whoever has seen it is told to stay away.
    let again = follow(&world, &world.service, &path(&id)).await.rest().await;
    assert_eq!(again, std::slice::from_ref(last));
    let back = world.http.get(world.url(&path(&id))).header("Last-Event-ID", "end").send().await.unwrap();
    assert_eq!(back.status(), 204);
}

#[tokio::test]
async fn any_instance_shows_all_jobs() {
    let world = world(&[]).await;
    // Too early for it.
    world.load_csv("t", "id\n1\n").await.committed(1);
    let other = Service::start(&world.db.url, &[]).await;
    let mut events = follow(&world, &other, "/v1/events").await;
    let (load, id) = running(&world).await;
    let begun = events.next().await.unwrap();
    assert_eq!((begun.job["id"].as_str(), begun.state()), (Some(id.as_str()), "running"));
    load.finish().await.committed(1);
    let ended = events.next_where(|event| event.state() == "committed").await;
    assert_eq!(ended.job, world.job(&id).await);
    let failed = world.load_csv("t", "id\nx\n").await.problem(422, "bad-row")["job_id"].clone();
    let seen = events.next_where(|event| event.state() == "failed").await;
    assert_eq!(seen.job["id"], failed);
    assert_eq!(seen.job["error"]["line"], 2);
}

#[tokio::test]
async fn whoever_comes_back_has_missed_nothing() {
    let world = world(&[]).await;
    let mut events = follow(&world, &world.service, "/v1/events").await;
    let (load, id) = running(&world).await;
    let last = events.next().await.unwrap();
    drop(events);
    load.finish().await.committed(1);
    let mut missed = vec![id];
    for _ in 0..20 {
        missed.push(world.load_csv("t", "id\n1\n").await.committed(1)["id"].as_str().unwrap().to_owned());
    }
    // However often it is cut off.
    let mut since = last.id;
    let mut seen = BTreeSet::new();
    for _ in 0..missed.len() {
        let request = world.http.get(world.url("/v1/events")).header("Last-Event-ID", &since);
        let mut events = Events::open(request).await;
        let event = events.next_where(|event| !seen.contains(event.job["id"].as_str().unwrap())).await;
        assert_eq!(event.state(), "committed");
        seen.insert(event.job["id"].as_str().unwrap().to_owned());
        since = event.id;
    }
    assert_eq!(seen, missed.into_iter().collect());
    for id in ["x", "-1", "end", "99999999999999999999", "9223372036854775807"] {
        let request = world.http.get(world.url("/v1/events")).header("Last-Event-ID", id);
        Answer::of(request.send().await.unwrap()).await.problem(400, "unreadable-header");
    }
    world.get("/v1/events?from=1").await.problem(400, "invalid-option");
    world.get(&path("019a0000-0000-7000-8000-000000000000")).await.problem(404, "job-not-found");
}

/// More than are looked at at a time, and many of them at the same moment.
#[tokio::test]
async fn whoever_was_away_for_long_is_shown_everything() {
    let world = world(&[]).await;
    let (load, _) = running(&world).await;
    world
        .db
        .sql(
            "INSERT INTO pgsluice.jobs (id, instance, target, table_name, state, format, mode, backend_pid, backend_start, created_at, finished_at) \
             SELECT gen_random_uuid(), instance, target, table_name, 'committed', format, mode, 1, 1, created_at, \
               created_at - interval '9 days' + (n / 700) * interval '1 hour' FROM pgsluice.jobs, generate_series(1, 3500) n",
        )
        .await;
    let request = world.http.get(world.url("/v1/events")).header("Last-Event-ID", "0");
    let mut events = Events::open(request).await;
    let mut seen = BTreeSet::new();
    let (mut last, mut running) = (0, 0);
    while seen.len() < 3500 {
        let event = events.next().await.unwrap();
        // None twice, and an id says that all before it was there.
        if event.state() == "running" {
            running += 1;
        } else {
            assert!(seen.insert(event.job["id"].to_string()), "{event:?}");
        }
        let id = event.id.parse::<i64>().unwrap();
        assert!(id >= last);
        last = id;
    }
    assert_eq!(running, 1);
    load.finish().await.committed(1);
    events.next_where(|event| event.state() == "committed").await;
}

/// Its place is somebody else's again.
#[tokio::test]
async fn a_key_has_a_part_of_the_streams_and_loses_them_unread() {
    let world = world(&["--require-keys", "--event-streams-max", "8"]).await;
    let (one, other) = (make_key(&world.db.url, "read", "*.*", &[]), make_key(&world.db.url, "admin", "*.*", &[]));
    let open = async |key: &str| world.http.get(world.url("/v1/events")).bearer_auth(key).send().await.unwrap();
    let unread = [open(&one).await, open(&one).await];
    let refused = Answer::of(open(&one).await).await;
    assert!(refused.problem(503, "too-many-event-streams")["detail"].as_str().unwrap().contains("with this key"));
    assert_eq!(open(&other).await.status(), 200);
    let streams = async || {
        let page = world
            .http
            .get(world.url("/metrics"))
            .bearer_auth(&other)
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
        let line = page.lines().find(|line| line.starts_with("pgsluice_event_streams ")).unwrap().to_owned();
        line.rsplit(' ').next().unwrap().to_owned()
    };
    let id = one.split('_').nth(1).unwrap();
    assert!(keys(&world.db.url, &["revoke", id]).status.success());
    for _ in 0..200 {
        if streams().await == "0" {
            return drop(unread);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the streams of a revoked key keep their places");
}

#[tokio::test]
async fn a_followed_job_that_is_deleted_ends_its_stream() {
    let world = world(&[]).await;
    let (load, id) = running(&world).await;
    let mut events = follow(&world, &world.service, &path(&id)).await;
    assert_eq!(events.next().await.unwrap().state(), "running");
    world.db.sql("DELETE FROM pgsluice.jobs").await;
    assert_eq!(events.next().await, None);
    // Its row is the witness of the commit: without it, nothing is.
    load.finish().await.problem(503, "metadata-unavailable");
    assert_eq!(world.db.count("t").await, 0);
}

#[tokio::test]
async fn a_dead_instances_job_is_seen_to_fail() {
    let mut world = world(&[]).await;
    let other = Service::start(&world.db.url, &["--lease", "2"]).await;
    let (load, id) = running(&world).await;
    let mut events = follow(&world, &other, &path(&id)).await;
    assert_eq!(events.next().await.unwrap().state(), "running");
    world.service.kill();
    let end = events.next_where(|event| event.state() != "running").await;
    assert_eq!((end.state(), end.job["reason"].as_str()), ("failed", Some("interrupted")));
    assert_eq!(events.next().await, None);
    load.abandon().await;
}

#[tokio::test]
async fn a_shutdown_ends_the_streams() {
    let mut world = world(&[]).await;
    let mut events = follow(&world, &world.service, "/v1/events").await;
    let (load, id) = running(&world).await;
    events.next().await.unwrap();
    world.service.signal("TERM");
    tokio::time::sleep(Duration::from_millis(300)).await;
    // What still runs is still seen.
    load.finish().await.committed(1);
    let seen = events.next_where(|event| event.state() == "committed").await;
    assert_eq!(seen.job["id"], id);
    assert_eq!(events.next().await, None);
    assert_eq!(world.service.ended().await, Some(0));
}

#[tokio::test]
async fn changes_are_told_and_a_broken_connection_is_made_again() {
    let world = world(&[]).await;
    let listening = "FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'pgsluice events' AND query = 'LISTEN pgsluice_jobs'";
    world.db.wait_until(&format!("SELECT count(*) = 1 {listening}")).await;
    let mut events = follow(&world, &world.service, "/v1/events").await;
    world.db.sql(&format!("SELECT pg_terminate_backend(pid) {listening}")).await;
    // Nothing is told now, and it is seen all the same.
    let unheard = world.load_csv("t", "id\n1\n").await.committed(1)["id"].clone();
    events.next_where(|event| event.job["id"] == unheard && event.state() == "committed").await;
    world.db.wait_until(&format!("SELECT count(*) = 1 {listening}")).await;
    let heard = world.load_csv("t", "id\n1\n").await.committed(1)["id"].clone();
    events.next_where(|event| event.job["id"] == heard && event.state() == "committed").await;
}

#[tokio::test]
async fn behind_pgbouncer_changes_are_asked_for() {
    let db = Database::create().await;
    let bouncer = Bouncer::start(&db, 10).await;
    let service = Service::start(&bouncer.url, &[]).await;
    let world = World::of(db, service);
    world.db.sql("CREATE TABLE t (id int)").await;
    let mut events = follow(&world, &world.service, "/v1/events").await;
    let id = world.load_csv("t", "id\n1\n").await.committed(1)["id"].clone();
    events.next_where(|event| event.job["id"] == id && event.state() == "committed").await;
    assert_eq!(
        world
            .db
            .count("pg_stat_activity WHERE query LIKE '%LISTEN%' AND pid <> pg_backend_pid() AND datname = current_database()")
            .await,
        0
    );
}

#[tokio::test]
async fn everybody_sees_what_they_may() {
    let world = world(&["--require-keys"]).await;
    world.db.sql("CREATE TABLE u (id int)").await;
    let make = |role, tables| make_key(&world.db.url, role, tables, &[]);
    let (mine, theirs, reader, admin) = (make("load", "*.*"), make("load", "*.*"), make("read", "u"), make("admin", "*.*"));
    let open = async |key: &str| Events::open(world.http.get(world.url("/v1/events")).bearer_auth(key)).await;
    let (mut my, mut their, mut read, mut all) = (open(&mine).await, open(&theirs).await, open(&reader).await, open(&admin).await);
    let load = async |key: &str, table: &str| {
        let request = world.post(table, "text/csv").bearer_auth(key).body("id\n1\n");
        Answer::of(request.send().await.unwrap()).await.committed(1)["id"].as_str().unwrap().to_owned()
    };
    let a = load(&mine, "t").await;
    let b = load(&theirs, "u").await;
    let c = load(&mine, "u").await;
    let d = load(&theirs, "t").await;
    for (events, seen) in [(&mut my, [&a, &c]), (&mut their, [&b, &d]), (&mut read, [&b, &c])] {
        for id in seen {
            let event = events.next_where(|event| event.state() == "committed").await;
            assert_eq!(event.job["id"].as_str(), Some(id.as_str()));
        }
    }
    for id in [a.clone(), b, c, d] {
        let event = all.next_where(|event| event.state() == "committed").await;
        assert_eq!(event.job["id"].as_str(), Some(id.as_str()));
    }
    let of_job = async |key: &str| world.http.get(world.url(&path(&a))).bearer_auth(key).send().await.unwrap();
    assert_eq!(of_job(&mine).await.status(), 200);
    Answer::of(of_job(&theirs).await).await.problem(404, "job-not-found");
    world.get("/v1/events").await.problem(401, "unauthenticated");
    // A key that is revoked sees nothing more, also on a stream that is open.
    let id = mine.split('_').nth(1).unwrap();
    assert!(keys(&world.db.url, &["revoke", id]).status.success());
    assert_eq!(my.next().await, None);
    load(&theirs, "t").await;
    their.next_where(|event| event.state() == "committed").await;
}

#[tokio::test]
async fn there_are_so_many_streams_and_no_more() {
    let world = world(&["--event-streams-max", "2"]).await;
    let first = follow(&world, &world.service, "/v1/events").await;
    let mut second = follow(&world, &world.service, "/v1/events").await;
    let refused = world.get("/v1/events").await;
    assert!(refused.problem(503, "too-many-event-streams")["detail"].as_str().unwrap().starts_with("2 streams"));
    assert!(refused.headers.contains_key("retry-after"));
    let id = world.load_csv("t", "id\n1\n").await.committed(1)["id"].clone();
    second.next_where(|event| event.job["id"] == id).await;
    drop(first);
    for _ in 0..200 {
        let again = world.http.get(world.url("/v1/events")).send().await.unwrap();
        if again.status() == 200 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("a stream whose client has left still counts");
}
