//! A load that is sent again under its `Idempotency-Key` is not loaded again, whatever happened to the first one.

use std::time::Duration;

use reqwest::RequestBuilder;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use uuid::Uuid;

use crate::crash::{hang_at, kill_when_hanging_and_restart};
use crate::support::{Answer, Database, Service, Trickle, World, raw, run};

const KEY: &str = "Idempotency-Key";

async fn world(flags: &[&str]) -> World {
    let world = World::with(flags).await;
    world.db.sql("CREATE TABLE t (id int)").await;
    world
}

async fn send(request: RequestBuilder, body: impl Into<reqwest::Body>) -> Answer {
    Answer::of(request.body(body).send().await.unwrap()).await
}

async fn load(world: &World, key: &str, table_and_options: &str, body: &str) -> Answer {
    send(world.post(table_and_options, "text/csv").header(KEY, key), body.to_owned()).await
}

/// The same on another instance.
async fn load_at(world: &World, service: &Service, key: &str, body: &str) -> Answer {
    let request = world.http.post(service.url("/v1/tables/t/loads")).header("Content-Type", "text/csv");
    send(request.header(KEY, key), body.to_owned()).await
}

/// Sends it again for as long as another one is in the way.
async fn insist(attempt: impl AsyncFn() -> Answer) -> Answer {
    for _ in 0..600 {
        let answer = attempt().await;
        match answer.status.as_u16() {
            409 => answer.problem(409, "idempotency-key-in-progress"),
            503 => answer.problem(503, "saturated"),
            _ => return answer,
        };
        assert!(answer.headers.contains_key("retry-after"));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("no result within 30 s");
}

fn is_replay(answer: &Answer) -> bool {
    let replayed = answer.json["replayed"].as_bool().unwrap();
    let says_so = answer.headers.get("idempotent-replayed").map(|value| value.to_str().unwrap());
    assert_eq!(says_so, replayed.then_some("true"), "{:#}", answer.json);
    replayed
}

/// Holds that this is the result of that load, sent again.
#[track_caller]
fn replayed(answer: &Answer, first: &Answer) {
    assert_eq!(answer.status, 201, "{:#}", answer.json);
    assert!(is_replay(answer));
    assert_eq!(answer.headers["location"], first.headers["location"]);
    let mut json = answer.json.clone();
    json["replayed"] = Value::Bool(false);
    assert_eq!(json, first.json);
}

fn id(answer: &Answer) -> String {
    answer.json["id"].as_str().unwrap().to_owned()
}

/// Begins a load under this key and waits until it runs.
async fn running(world: &World, key: &str, table: &str) -> (Trickle, String) {
    let load = Trickle::begin_with(world.post(table, "text/csv").header(KEY, key));
    load.send("id\n1\n");
    let key = key.to_owned();
    let job = world.wait_for_job(|job| job["state"] == "running" && job["idempotency_key"] == key.as_str()).await;
    (load, job["id"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn the_second_time_the_first_result_comes_back() {
    let world = world(&[]).await;
    let first = load(&world, "\"k-1\"", "t", "id\n1\n2\n").await;
    first.committed(2);
    assert!(!is_replay(&first));
    assert_eq!(first.json["idempotency_key"], "k-1");
    // What the body holds does not matter: it is not asked for.
    for (key, body) in [("\"k-1\"", "id\n1\n2\n"), ("k-1", "id\n1\n2\n"), ("k-1", "id\nx\n"), ("k-1", "")] {
        replayed(&load(&world, key, "t", body).await, &first);
    }
    assert_eq!((world.db.count("t").await, world.db.count("pgsluice.jobs").await), (2, 1));
    assert_eq!(world.job(&id(&first)).await, first.json);
    // Another key, and none, is another load.
    load(&world, "k-2", "t", "id\n1\n").await.committed(1);
    let without = world.load_csv("t", "id\n1\n").await;
    assert_eq!(without.committed(1)["idempotency_key"], Value::Null);
    assert!(!is_replay(&without));
    let page = world.get("/v1/jobs?idempotency_key=k-1").await;
    assert_eq!(page.json["jobs"].as_array().unwrap().len(), 1);
    assert_eq!(page.json["jobs"][0]["id"], first.json["id"]);
    world.get("/v1/jobs?idempotency_key=").await.problem(400, "invalid-idempotency-key");
}

#[tokio::test]
async fn a_replay_does_not_ask_for_the_body() {
    let world = world(&[]).await;
    load(&world, "k", "t", "id\n1\n").await.committed(1);
    let address = world.service.address();
    let request = |key: &str| {
        format!(
            "POST /v1/tables/t/loads HTTP/1.1\r\nHost: {address}\r\nContent-Type: text/csv\r\nContent-Length: 10\r\n\
             Idempotency-Key: {key}\r\nExpect: 100-continue\r\n\r\n"
        )
    };
    let answer = raw(address, request("k").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 201 ") && answer.contains("\"replayed\":true"), "{answer}");
    assert!(!answer.contains("100 Continue"), "{answer}");
    let answer = raw(address, request("other").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 100 Continue\r\n"), "{answer}");
}

#[tokio::test]
async fn keys_survive_a_restart_and_are_known_to_every_instance() {
    let mut world = world(&[]).await;
    let other = Service::start(&world.db.url, &[]).await;
    let first = load(&world, "k", "t", "id\n1\n").await;
    first.committed(1);
    replayed(&load_at(&world, &other, "k", "id\n1\n").await, &first);
    world.service.kill();
    replayed(&load_at(&world, &other, "k", "id\n1\n").await, &first);
    world.service = Service::start(&world.db.url, &[]).await;
    replayed(&load(&world, "k", "t", "id\n1\n").await, &first);
    assert_eq!(world.db.count("t").await, 1);
}

#[tokio::test]
async fn of_64_clients_at_once_one_loads() {
    let world = world(&[]).await;
    let other = Service::start(&world.db.url, &[]).await;
    let body: String = "id\n".to_owned() + &"7\n".repeat(100_000);
    let clients = (0..64).map(async |client| {
        insist(async || match client % 2 {
            0 => load(&world, "k", "t", &body).await,
            _ => load_at(&world, &other, "k", &body).await,
        })
        .await
    });
    let answers = futures::future::join_all(clients).await;
    for answer in &answers {
        answer.committed(100_000);
        assert_eq!(id(answer), id(&answers[0]));
    }
    assert_eq!(answers.iter().filter(|answer| !is_replay(answer)).count(), 1);
    assert_eq!((world.db.count("t").await, world.db.count("pgsluice.ledger").await), (100_000, 1));
    assert_eq!(world.db.count("pgsluice.jobs").await, 1);
}

#[tokio::test]
async fn a_key_stands_for_one_request() {
    let world = world(&[]).await;
    let first = load(&world, "k", "t?header=present&delimiter=;", "id\n1\n").await;
    first.committed(1);
    replayed(&load(&world, "k", "t?delimiter=%3B&header=present", "id\n1\n").await, &first);
    for options in ["", "?header=present", "?header=present&delimiter=,", "?header=present&delimiter=;&expected_rows=1"] {
        let answer = load(&world, "k", &format!("t{options}"), "id\n1\n").await;
        assert_eq!(answer.problem(422, "idempotency-key-reused")["job_id"], first.json["id"]);
        assert_eq!(answer.headers["location"], first.headers["location"]);
    }
    let request = || world.http.post(world.url("/v1/tables/t/loads?header=present&delimiter=;")).header(KEY, "k");
    for other in [
        request().header("Content-Type", "text/csv; charset=LATIN1"),
        request().header("Content-Type", "text/csv").header("Content-Encoding", "gzip"),
    ] {
        send(other, "id\n1\n").await.problem(422, "idempotency-key-reused");
    }
    replayed(&send(request().header("Content-Type", "Text/CSV"), "id\n1\n").await, &first);
    assert_eq!(world.db.count("t").await, 1);
}

#[tokio::test]
async fn a_key_stands_for_one_body_as_far_as_that_is_declared() {
    use sha2::{Digest, Sha256, Sha512};
    let field = |name: &str, digest: &[u8]| format!("{name}={}", sfv::ItemSerializer::new().bare_item(digest).finish());
    let (body, other) = ("id\n1\n", "id\n2\n");
    let right = field("sha-256", &Sha256::digest(body));
    let world = world(&[]).await;
    let request = |key: &str, digest: &str| world.post("t", "text/csv").header(KEY, key).header("Content-Digest", digest);
    let first = send(request("k", &right), body).await;
    first.committed(1);
    replayed(&send(request("k", &right), body).await, &first);
    replayed(&load(&world, "k", "t", body).await, &first);
    replayed(&send(request("k", &field("sha-512", &Sha512::digest(other))), other).await, &first);
    let by_another_name = world.post("t", "text/csv").header(KEY, "k").header("Repr-Digest", &right);
    replayed(&send(by_another_name, body).await, &first);
    let reused = send(request("k", &field("sha-256", &Sha256::digest(other))), other).await;
    assert!(reused.problem(422, "idempotency-key-reused")["detail"].as_str().unwrap().contains("digest"));
    // The first one declared none.
    let undeclared = load(&world, "l", "t", body).await;
    replayed(&send(request("l", &right), body).await, &undeclared);
    assert_eq!(world.db.count("t").await, 2);
    // A body that is not the declared one is no load that could have the key.
    send(request("m", &right), other).await.problem(400, "digest-mismatching-values");
    send(request("m", &right), body).await.committed(1);
}

#[tokio::test]
async fn a_load_that_is_not_committed_does_not_use_up_its_key() {
    let world = world(&[]).await;
    let failed = load(&world, "k", "t", "id\nx\n").await;
    let failed = failed.problem(422, "bad-row")["job_id"].as_str().unwrap().to_owned();
    let (running, cancelled) = running(&world, "k", "t").await;
    assert_ne!(failed, cancelled);
    assert_eq!(world.cancel(&cancelled).await.status, 200);
    running.answer().await.problem(409, "cancelled");
    // Other parameters too, because nobody holds it.
    let third = load(&world, "k", "t?header=absent", "1\n").await;
    third.committed(1);
    replayed(&load(&world, "k", "t?header=absent", "1\n").await, &third);
    assert_eq!(world.db.count("t").await, 1);
    let jobs = world.get("/v1/jobs?idempotency_key=k").await.json;
    let states: Vec<_> = jobs["jobs"].as_array().unwrap().iter().map(|job| job["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["committed", "cancelled", "failed"]);
}

#[tokio::test]
async fn while_it_runs_whoever_comes_is_shown_where() {
    let world = world(&[]).await;
    let other = Service::start(&world.db.url, &[]).await;
    let (first, job) = running(&world, "k", "t").await;
    for answer in [load(&world, "k", "t", "id\n1\n").await, load_at(&world, &other, "k", "id\n1\n").await] {
        assert_eq!(answer.problem(409, "idempotency-key-in-progress")["job_id"], job);
        assert_eq!(answer.headers["location"], format!("/v1/jobs/{job}"));
        assert!(answer.headers.contains_key("retry-after"));
    }
    // For another table name it takes the table itself to know.
    assert_eq!(
        load(&world, "k", "public.t", "id\n1\n").await.problem(409, "idempotency-key-in-progress")["job_id"],
        job
    );
    load(&world, "k", "t?timeout=9", "id\n1\n").await.problem(422, "idempotency-key-reused");
    let page = world.get("/v1/jobs?idempotency_key=k&state=running").await.json;
    assert_eq!((page["jobs"][0]["id"].as_str(), page["jobs"].as_array().unwrap().len()), (Some(job.as_str()), 1));
    first.finish().await.committed(1);
    let replay = load(&world, "k", "t", "id\n1\n").await;
    assert!(is_replay(&replay));
    assert_eq!(id(&replay), job);
    assert_eq!(world.db.count("t").await, 1);
}

/// COMMIT waits for a lock that the test holds, and the first one fails if it is told to.
async fn commits_wait(world: &World, first_fails: bool) -> tokio_postgres::Client {
    world
        .db
        .sql(&format!(
            "CREATE SEQUENCE commits; \
             CREATE FUNCTION at_commit() RETURNS trigger LANGUAGE plpgsql AS \
             'BEGIN PERFORM pg_advisory_xact_lock_shared(1); \
                IF nextval(''commits'') = 1 AND {first_fails} THEN RAISE EXCEPTION ''not this one''; END IF; RETURN NULL; END'; \
             CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON t DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION at_commit()"
        ))
        .await;
    let holder = world.db.connect().await;
    holder.batch_execute("SELECT pg_advisory_lock(1)").await.unwrap();
    holder
}

/// A load hangs in COMMIT, and the same one is sent again; both answers, once COMMIT goes on.
async fn sent_again_during_commit(world: World, first_fails: bool) -> (World, Answer, Answer) {
    let lock = commits_wait(&world, first_fails).await;
    let request = || send(world.post("t", "text/csv").header(KEY, "k"), "id\n1\n");
    let first = tokio::spawn(request());
    world.wait_for_job(|job| job["state"] == "committing").await;
    let second = tokio::spawn(request());
    let asked = "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '%key_fingerprint, key_digest%requested_table = %' \
         AND pid <> pg_backend_pid()";
    world.db.wait_until(asked).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!second.is_finished());
    lock.batch_execute("SELECT pg_advisory_unlock(1)").await.unwrap();
    let answers = (first.await.unwrap(), second.await.unwrap());
    (world, answers.0, answers.1)
}

#[tokio::test]
async fn a_commit_is_waited_for_and_its_result_is_replayed() {
    let (world, first, second) = sent_again_during_commit(world(&[]).await, false).await;
    first.committed(1);
    replayed(&second, &first);
    assert_eq!(world.db.count("t").await, 1);
}

#[tokio::test]
async fn a_commit_is_waited_for_and_if_it_fails_the_load_runs() {
    let (world, first, second) = sent_again_during_commit(world(&[]).await, true).await;
    assert!(first.problem(422, "bad-row")["detail"].as_str().unwrap().contains("not this one"));
    second.committed(1);
    assert!(!is_replay(&second));
    assert_eq!(world.db.count("t").await, 1);
}

#[tokio::test]
async fn killed_in_mid_load_and_sent_again_to_another_instance() {
    let mut world = world(&[]).await;
    let other = Service::start(&world.db.url, &[]).await;
    let (first, job) = running(&world, "k", "t").await;
    first.send("1\n".repeat(500_000));
    world.wait_for_job(|job| job["rows_received"].as_u64() > Some(100_000)).await;
    world.service.kill();
    first.abandon().await;
    let answer = insist(async || load_at(&world, &other, "k", "id\n1\n2\n3\n").await).await;
    answer.committed(3);
    assert_ne!(id(&answer), job);
    replayed(&load_at(&world, &other, "k", "id\n1\n2\n3\n").await, &answer);
    assert_eq!(world.db.count("t").await, 3);
}

#[tokio::test]
async fn killed_after_commit_and_before_the_answer() {
    let mut world = world(&[]).await;
    hang_at(&world, "committed").await;
    let first = Trickle::begin_with(world.post("t", "text/csv").header(KEY, "k"));
    first.send("id\n1\n2\n3\n");
    let first = tokio::spawn(first.finish());
    let job = kill_when_hanging_and_restart(&mut world).await;
    assert!(first.await.is_err(), "the client was answered before the job was on record");
    let answer = load(&world, "k", "t", "id\n1\n2\n3\n").await;
    answer.committed(3);
    assert!(is_replay(&answer));
    assert_eq!(id(&answer), job["id"].as_str().unwrap());
    assert_eq!(world.db.count("t").await, 3);
}

#[tokio::test]
async fn a_key_belongs_to_a_table_whatever_the_table_is_called() {
    let world = world(&[]).await;
    world.db.sql("CREATE TABLE u (id int)").await;
    let first = load(&world, "k", "t", "id\n1\n").await;
    first.committed(1);
    replayed(&load(&world, "k", "public.t", "id\n1\n").await, &first);
    load(&world, "k", "u", "id\n1\n").await.committed(1);
    assert_eq!((world.db.count("t").await, world.db.count("u").await), (1, 1));
    // A table that is gone has been loaded all the same.
    world.db.sql("DROP TABLE t").await;
    replayed(&load(&world, "k", "t", "id\n1\n").await, &first);
    load(&world, "k", "public.t", "id\n1\n").await.problem(404, "table-not-found");
    load(&world, "k", "t%00", "id\n1\n").await.problem(404, "table-not-found");
}

#[tokio::test]
async fn a_key_belongs_to_a_target_database() {
    let (metadata, one, two) = (Database::create().await, Database::create().await, Database::create().await);
    let http = reqwest::Client::new();
    let mut jobs = Vec::new();
    for target in [&one, &two] {
        target.sql("CREATE TABLE t (id int)").await;
        let service = Service::start(&metadata.url, &["--bulk-database-url", &target.url]).await;
        let request = || http.post(service.url("/v1/tables/t/loads")).header("Content-Type", "text/csv").header(KEY, "k");
        let first = send(request(), "id\n1\n").await;
        first.committed(1);
        assert!(!is_replay(&first));
        replayed(&send(request(), "id\n1\n").await, &first);
        assert_eq!(target.count("t").await, 1);
        jobs.push(id(&first));
    }
    assert_ne!(jobs[0], jobs[1]);
}

#[tokio::test]
async fn a_key_expires() {
    for (flags, kept, expired) in [(&[][..], "6 days", "8 days"), (&["--idempotency-key-retention", "3600"], "59 minutes", "61 minutes")] {
        let world = world(flags).await;
        let first = load(&world, "k", "t", "id\n1\n").await;
        let age = async |by: &str| {
            let sql = format!("UPDATE pgsluice.jobs SET finished_at = now() - interval '{by}' WHERE id = '{}'", id(&first));
            world.db.sql(&sql).await;
        };
        age(kept).await;
        let kept = load(&world, "k", "t", "id\n1\n").await;
        assert!(is_replay(&kept));
        assert_eq!(id(&kept), id(&first));
        age(expired).await;
        // For another request too; and of many at once, one loads.
        let again = futures::future::join_all((0..8).map(|_| insist(async || load(&world, "k", "t?header=absent", "1\n").await))).await;
        assert!(again.iter().all(|answer| id(answer) == id(&again[0]) && id(answer) != id(&first)));
        assert_eq!(again.iter().filter(|answer| !is_replay(answer)).count(), 1);
        // The table was found without its name as well.
        load(&world, "k", "public.t", "id\n1\n").await.problem(422, "idempotency-key-reused");
        assert_eq!(world.db.count("t").await, 2);
        assert_eq!(world.job(&id(&first)).await["state"], "committed");
    }
}

#[tokio::test]
async fn a_replay_needs_no_slot() {
    let world = world(&["--bulk-slots", "1", "--bulk-slot-wait-ms", "100"]).await;
    let first = load(&world, "k", "t", "id\n1\n").await;
    first.committed(1);
    let (busy, job) = running(&world, "busy", "t").await;
    replayed(&load(&world, "k", "t", "id\n1\n").await, &first);
    load(&world, "new", "t", "id\n1\n").await.problem(503, "saturated");
    // The slot is taken by the very load that is sent again.
    assert_eq!(
        load(&world, "busy", "t", "id\n1\n").await.problem(409, "idempotency-key-in-progress")["job_id"],
        job
    );
    busy.finish().await.committed(1);
    load(&world, "new", "t", "id\n1\n").await.committed(1);
}

#[tokio::test]
async fn the_replay_of_a_large_upload_reaches_its_client() {
    let world = world(&[]).await;
    let rows = 4_000_000;
    let body = "id\n".to_owned() + &"1234567\n".repeat(rows);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("t.csv");
    std::fs::write(&file, &body).unwrap();
    let curl = |extra: &'static [&str]| {
        let mut curl = std::process::Command::new("curl");
        curl.args(["-sS", "-X", "POST", "-H", "Content-Type: text/csv", "-H", "Idempotency-Key: k", "-w", "\n%{http_code}"]);
        curl.args(extra).arg("-T").arg(&file).arg(world.url("/v1/tables/t/loads"));
        tokio::task::spawn_blocking(move || run(&mut curl))
    };
    let answer = curl(&[]).await.unwrap();
    assert!(answer.ends_with("\n201") && answer.contains("\"replayed\":false"), "{answer}");
    for extra in [&[][..], &["-H", "Expect:"], &["-H", "Transfer-Encoding: chunked"]] {
        let answer = curl(extra).await.unwrap();
        assert!(answer.ends_with("\n201") && answer.contains("\"replayed\":true"), "{extra:?}: {answer}");
    }
    for _ in 0..4 {
        let answer = load(&world, "k", "t", &body).await;
        assert!(is_replay(&answer));
    }
    assert_eq!(world.db.count("t").await, rows as i64);
}

/// Many clients read no answer before they have sent everything, and they may pause.
#[tokio::test]
async fn what_comes_after_a_replay_is_read_to_its_end() {
    let world = world(&[]).await;
    load(&world, "k", "t", "id\n1\n").await.committed(1);
    let address = world.service.address();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let piece = "7\n".repeat(1 << 20);
    let head = format!(
        "POST /v1/tables/t/loads HTTP/1.1\r\nHost: {address}\r\nContent-Type: text/csv\r\nIdempotency-Key: k\r\n\
         Content-Length: {}\r\n\r\n",
        piece.len() * 4
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    for _ in 0..2 {
        stream.write_all(piece.as_bytes()).await.unwrap();
    }
    // Longer than what is granted to whoever goes on sending after a refusal.
    tokio::time::sleep(Duration::from_secs(6)).await;
    for _ in 0..2 {
        stream.write_all(piece.as_bytes()).await.unwrap();
    }
    // The connection is good for more.
    let next = format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(next.as_bytes()).await.unwrap();
    let mut answers = String::new();
    stream.read_to_string(&mut answers).await.unwrap();
    assert!(answers.starts_with("HTTP/1.1 201 ") && answers.contains("\"replayed\":true"), "{answers}");
    assert!(answers.contains("HTTP/1.1 200 OK"), "{answers}");
    assert_eq!(world.db.count("t").await, 1);
}

#[tokio::test]
async fn keys_that_are_none() {
    let world = world(&[]).await;
    let long = "k".repeat(256);
    let quoted = format!("\"{long}\"");
    for key in [
        "",
        "\"\"",
        &long,
        &quoted,
        "\"abc",
        "\"abc\"d",
        "abc\"",
        "a\"b",
        "\"a\\b\"",
        "a b",
        "\"a b\"",
        "a,b",
        "\"a\", \"b\"",
        "\"a\";p=1",
        "a\tb",
    ] {
        load(&world, key, "t", "id\n1\n").await.problem(400, "invalid-idempotency-key");
    }
    load(&world, "schlüssel", "t", "id\n1\n").await.problem(400, "unreadable-header");
    let twice = world.post("t", "text/csv").header(KEY, "a").header(KEY, "a");
    send(twice, "id\n1\n").await.problem(400, "repeated-header");
    assert_eq!((world.db.count("t").await, world.db.count("pgsluice.jobs").await), (0, 0));
    let uuid = Uuid::now_v7().to_string();
    for (key, name) in [
        (&long[1..], &long[1..]),
        (&quoted[..255].replace("\"", ""), &long[2..]),
        ("\"a,\\\"b\\\\\"", "a,\"b\\"),
        ("a;b=c\\", "a;b=c\\"),
        ("?1", "?1"),
        (&uuid, &uuid),
    ] {
        let answer = load(&world, key, "t", "id\n1\n").await;
        assert_eq!(answer.committed(1)["idempotency_key"], name);
        let query = form_urlencoded::Serializer::new(String::new()).append_pair("idempotency_key", key).finish();
        assert_eq!(world.get(&format!("/v1/jobs?{query}")).await.json["jobs"][0]["id"], answer.json["id"]);
    }
}

#[tokio::test]
async fn jobs_from_before_there_were_keys_are_kept() {
    let mut world = world(&[]).await;
    let old = world.load_csv("t", "id\n1\n").await;
    old.committed(1);
    world.service.kill();
    world
        .db
        .sql(
            "ALTER TABLE pgsluice.jobs DROP COLUMN principal, DROP COLUMN idempotency_key, DROP COLUMN requested_table, \
             DROP COLUMN key_fingerprint, DROP COLUMN key_digest, DROP COLUMN key_expired, \
             DROP COLUMN rejected_by_column, DROP COLUMN rejects_header; DROP TABLE pgsluice.rejects; DROP TABLE pgsluice.keys; \
             DROP TABLE pgsluice.sweeps; DROP INDEX pgsluice.jobs_finished, pgsluice.jobs_ended; \
             DELETE FROM pgsluice.metadata_migrations WHERE version > 1",
        )
        .await;
    world.service = Service::start(&world.db.url, &[]).await;
    assert_eq!(world.job(&id(&old)).await, old.json);
    let first = load(&world, "k", "t", "id\n1\n").await;
    first.committed(1);
    replayed(&load(&world, "k", "t", "id\n1\n").await, &first);
}
