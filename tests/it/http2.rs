//! Many uploads on one HTTP/2 connection: none is in the way of another, and none is committed that was not sent to its end.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::join_all;
use h2::Reason;
use reqwest::header::HeaderMap;

use crate::https::Secured;
use crate::support::certificates::write;
use crate::support::http2::{Http2, Upload, reset};
use crate::support::run;

/// Larger than what the service takes in of a load that does not move: its queue and the stream's window.
const STALLED_BYTES: usize = 12 << 20;

async fn secured() -> Secured {
    let secured = Secured::with(&["--bulk-slots", "12", "--lock-timeout", "600", "--client-stall", "600"]).await;
    secured.db.sql("CREATE TABLE t (id int, name text); CREATE TABLE held (id int, name text)").await;
    secured
}

fn rows(count: usize) -> Bytes {
    let mut rows = String::from("id,name\n");
    for id in 0..count {
        rows.push_str(&format!("{id},{}\n", "x".repeat(90)));
    }
    rows.into()
}

/// A load that is held up by a lock on its table, and whose client sends as much as it may.
async fn stalled_load(connection: &Http2, secured: &Secured) -> Upload {
    let mut stalled = connection.load("held").await;
    stalled.push(rows(STALLED_BYTES / 100));
    // It stalls for good when the service has taken in what it takes of a load that does not move, and the stream's window is full too.
    let (mut received, mut unchanged) = (0, 0);
    while received == 0 || unchanged < 10 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let job = secured
            .wait_for_job(connection, |job| job["table"] == "public.held" && job["state"] == "running")
            .await;
        let now = job["bytes_received"].as_u64().unwrap();
        unchanged = if now == received { unchanged + 1 } else { 0 };
        received = now;
    }
    assert!(received < STALLED_BYTES as u64 - (1 << 20), "{received} bytes were taken in: nothing stalls");
    stalled
}

#[tokio::test]
async fn a_stalled_upload_does_not_hold_up_its_neighbours() {
    let secured = secured().await;
    let connection = secured.connect().await;
    let holder = secured.db.connect().await;
    holder.batch_execute("BEGIN; LOCK TABLE held").await.unwrap();
    let stalled = stalled_load(&connection, &secured).await;
    // One more whose client is silent.
    let mut silent = connection.load("t").await;
    silent.push("id,name\n1,a\n");

    // Each is larger than all that the windows of a connection usually hold.
    let body = rows(40_000);
    let neighbours = (0..9).map(|_| async { connection.load("t").await.finish(body.clone()).await });
    let answers = tokio::time::timeout(Duration::from_secs(120), join_all(neighbours)).await;
    for answer in answers.expect("the neighbours are held up") {
        answer.committed(40_000);
    }
    // Both are where they were.
    assert_eq!(secured.db.count("t").await, 360_000);
    assert_eq!(connection.get("/v1/jobs?state=running").await.json["jobs"].as_array().unwrap().len(), 2);

    holder.batch_execute("COMMIT").await.unwrap();
    stalled.finish("").await.committed((STALLED_BYTES / 100) as u64);
    silent.finish("2,b\n").await.committed(2);
}

/// Nine loads with a stalled one beside them, and without, again and again on one connection: all are committed. `make bench-http2` does it
/// more often, and shows how the times compare.
#[tokio::test]
async fn nine_uploads_beside_a_stalled_one_and_without_it() {
    let rounds: usize = std::env::var("PGSLUICE_TEST_ROUNDS").map_or(1, |rounds| rounds.parse().unwrap());
    let secured = secured().await;
    let connection = secured.connect().await;
    let body = rows(100_000);
    let nine = || async {
        secured.db.sql("TRUNCATE t").await;
        let since = Instant::now();
        for answer in join_all((0..9).map(|_| async { connection.load("t").await.finish(body.clone()).await })).await {
            answer.committed(100_000);
        }
        since.elapsed().as_secs_f64()
    };
    nine().await;
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        alone.push(nine().await);
        let holder = secured.db.connect().await;
        holder.batch_execute("BEGIN; LOCK TABLE held").await.unwrap();
        let stalled = stalled_load(&connection, &secured).await;
        beside.push(nine().await);
        holder.batch_execute("COMMIT").await.unwrap();
        stalled.finish("").await.committed((STALLED_BYTES / 100) as u64);
        println!("round {round}: alone {:.2} s, beside a stalled one {:.2} s", alone[round - 1], beside[round - 1]);
    }
    alone.sort_by(f64::total_cmp);
    beside.sort_by(f64::total_cmp);
    println!("9 uploads of {:.1} MB on one connection, beside a stalled one and alone:", body.len() as f64 / 1e6);
    for (name, at) in [("fastest", 0), ("median", rounds / 2)] {
        println!("{name}: {:.2} s and {:.2} s, ratio {:.2}", beside[at], alone[at], beside[at] / alone[at]);
    }
}

#[tokio::test]
async fn a_body_that_is_reset_is_not_loaded() {
    let secured = secured().await;
    let admin = secured.connect().await;
    for reason in [Reason::NO_ERROR, Reason::CANCEL, Reason::INTERNAL_ERROR] {
        let connection = secured.connect().await;
        let mut upload = connection.load("t").await;
        upload.push("id,name\n1,a\n");
        let job = secured.wait_for_load(&admin).await;
        upload.body.send_reset(reason);
        secured.wait_for_failure(&admin, &job).await;
        // It was the stream's end, and not the connection's.
        connection.load("t").await.finish("id\n1\n").await.committed(1);
        secured.db.sql("TRUNCATE t").await;
    }
    let connection = secured.connect().await;
    let mut upload = connection.load("t").await;
    upload.push("id,name\n1,a\n");
    let job = secured.wait_for_load(&admin).await;
    connection.abandon().await;
    secured.wait_for_failure(&admin, &job).await;
}

#[tokio::test]
async fn a_body_of_another_length_than_declared_is_not_loaded() {
    let secured = secured().await;
    let connection = secured.connect().await;
    for declared in ["6", "1000"] {
        let request = http::Request::post("/").header("Content-Type", "text/csv").header("Content-Length", declared);
        let upload = connection.send(request, "/v1/tables/t/loads", false).await;
        let mut body = upload.body;
        // The client's own library does not mind.
        body.send_data(Bytes::from_static(b"id\n1\n2\n3\n"), true).unwrap();
        assert_eq!(reset(&mut body).await, Reason::PROTOCOL_ERROR, "{declared}");
    }
    secured.db.wait_until("SELECT count(*) = 0 FROM pgsluice.jobs WHERE state = 'running'").await;
    assert_eq!(secured.db.count("t").await, 0);
}

#[tokio::test]
async fn trailers_end_a_body_too() {
    let secured = secured().await;
    let connection = secured.connect().await;
    let mut upload = connection.load("t").await;
    upload.push("id\n1\n");
    let mut trailers = HeaderMap::new();
    trailers.insert("x-checked", "yes".parse().unwrap());
    upload.body.send_trailers(trailers).unwrap();
    upload.answer().await.unwrap().committed(1);
}

#[tokio::test]
async fn a_refusal_comes_at_once_and_only_ends_its_stream() {
    let secured = secured().await;
    let connection = secured.connect().await;
    // Nobody ends these bodies: what ends the streams is the service.
    for (table, status, problem) in [("nope", 404, "table-not-found"), ("t?x=1", 400, "invalid-option"), ("t", 422, "bad-row")] {
        let mut upload = connection.load(table).await;
        upload.push("id,name\nbad,x\n");
        upload.push(vec![b'1'; 4 << 20]);
        let (answer, mut body) = upload.answer_and_body().await.unwrap();
        answer.problem(status, problem);
        assert_eq!(reset(&mut body).await, Reason::NO_ERROR, "{table}");
    }
    // What was sent of them took nothing from the others.
    connection.load("t").await.finish(rows(40_000)).await.committed(40_000);
}

#[tokio::test]
async fn curl_gets_its_refusal_while_it_sends() {
    let secured = secured().await;
    let large = write(
        secured.dir.path(),
        "large.csv",
        &format!("id,name\nbad,x\n{}", "1,xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n".repeat(1_000_000)),
    );
    let mut curl = secured.curl("/v1/tables/t/loads");
    curl.args(["-X", "POST", "-H", "Content-Type: text/csv", "-w", "\n%{http_version} %{http_code}", "-T"])
        .arg(&large);
    let answer = tokio::task::spawn_blocking(move || run(&mut curl)).await.unwrap();
    assert!(answer.ends_with("\n2 422") && answer.contains("\"line\":2"), "{answer}");
    let mut curl = secured.curl("/v1/tables/t/loads");
    let small = write(secured.dir.path(), "small.csv", "id,name\n1,a\n");
    // Asked for or not: curl waits for a second at most, and is answered in any case.
    curl.args(["-X", "POST", "-H", "Content-Type: text/csv", "-H", "Expect: 100-continue", "-w", "\n%{http_version} %{http_code}", "-T"])
        .arg(&small);
    let answer = tokio::task::spawn_blocking(move || run(&mut curl)).await.unwrap();
    assert!(answer.ends_with("\n2 201"), "{answer}");
    assert_eq!(secured.db.count("t").await, 1);
}

#[tokio::test]
async fn a_load_that_runs_ends_in_order_when_the_service_goes_down() {
    let mut secured = secured().await;
    let connection = secured.connect().await;
    let mut upload = connection.load("t").await;
    upload.push("id\n1\n");
    secured.wait_for_load(&connection).await;
    secured.service.signal("TERM");
    while connection.get("/readyz").await.status == 200 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    connection.load("t").await.finish("id\n2\n").await.problem(503, "shutting-down");
    upload.finish("3\n").await.committed(2);
    assert_eq!(secured.service.ended().await, Some(0));
    assert_eq!(secured.db.count("t").await, 2);
}
