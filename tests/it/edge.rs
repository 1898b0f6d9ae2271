//! The edge: what is refused before the body is asked for, and that a refusal gets through to whoever is still sending.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{Trickle, World, python, raw, run};

async fn world() -> World {
    let world = World::with(&["--bulk-slots", "1", "--bulk-slot-wait-ms", "200", "--body-bytes-max", "3000000000"]).await;
    world.db.sql("CREATE TABLE t (id int, name text)").await;
    world
}

#[tokio::test]
async fn unknown_and_doubled_options_are_refused() {
    let world = world().await;
    let cases = [
        "t?nope=1",
        "t?header=present&header=present",
        "t?header=maybe",
        "t?delimiter=ab",
        "t?delimiter=%0A",
        "t?quote=,",
        "t?null=a,b",
        "t?segments=two",
        "t?timeout=0",
        "t?timeout=x",
        "t?expected_rows=",
        "t?expected_rows=-1",
        "t?expected_rows=%2B1",
        "t?expected_rows=1.0",
        "t?expected_rows=99999999999999999999",
        "t?format=parquet",
        "t?format=arrow-file",
        "t?columns=a,,b",
        "t?delimiter=%C3%A4",
    ];
    for case in cases {
        world.load_csv(case, "id\n1\n").await.problem(400, "invalid-option");
    }
    world
        .load("t?header=absent", crate::support::arrow::STREAM, "x")
        .await
        .problem(400, "invalid-option");
    world.load("t?header=absent", "text/csv; header=present", "x").await.problem(400, "invalid-option");
    assert_eq!(world.db.count("pgsluice.jobs").await, 0);
}

#[tokio::test]
async fn media_types() {
    let world = world().await;
    for media in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/json", "text/csv; x=y"]
    {
        let answer = world.load("t", media, "id\n1\n").await;
        answer.problem(415, "unsupported-media-type");
        assert!(answer.headers["accept-post"].to_str().unwrap().contains("text/csv"));
    }
    let untyped = world.http.post(world.url("/v1/tables/t/loads")).body("id\n1\n").send().await.unwrap();
    assert_eq!(untyped.status(), 415);
    let typed = world.http.post(world.url("/v1/tables/t/loads?format=csv")).body("id\n1\n").send().await.unwrap();
    assert_eq!(typed.status(), 201);
    world.load("t", "Text/CSV; charset=\"UTF-8\"; header=absent", "2,b\n").await.committed(1);
    for (name, value) in [("Digest", "sha-256=eA=="), ("Content-MD5", "eA==")] {
        let answer = world.post("t", "text/csv").header(name, value).body("id\n1\n").send().await.unwrap();
        crate::support::Answer::of(answer).await.problem(400, "unsupported-header");
    }
}

#[tokio::test]
async fn headers_that_can_be_read_in_two_ways() {
    let world = world().await;
    let address = world.service.address();
    for extra in [
        "Content-Type: text/csv\r\nContent-Type: text/csv\r\nContent-Length: 5\r\n",
        "Content-Type: text/csv\r\nContent-Range: bytes 0-4/10\r\nContent-Length: 5\r\n",
        "Content-Type: text/csv\r\nTransfer-Encoding: gzip, chunked\r\n",
    ] {
        let request = format!("POST /v1/tables/t/loads HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{extra}\r\nid\n1\n");
        let answer = raw(address, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{extra}: {answer}");
    }
    assert_eq!(world.db.count("t").await, 0);
}

#[tokio::test]
async fn web_pages_of_others_are_kept_out() {
    let world = world().await;
    for (name, value) in [("Origin", "https://evil.example"), ("Origin", "null"), ("Host", "evil.example")] {
        let answer = world.post("t", "text/csv").header(name, value).body("id\n1\n").send().await.unwrap();
        crate::support::Answer::of(answer).await.problem(403, "foreign-origin");
        let listed = world.http.get(world.url("/v1/jobs")).header(name, value).send().await.unwrap();
        assert_eq!(listed.status(), 403);
    }
    let own = format!("http://{}", world.service.address());
    let answer = world.post("t", "text/csv").header("Origin", own).body("id\n1\n").send().await.unwrap();
    assert_eq!(answer.status(), 201);
}

#[tokio::test]
async fn a_refusal_comes_before_the_body_is_asked_for() {
    let world = world().await;
    let address = world.service.address();
    let request = |path: &str, length: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: text/csv\r\nContent-Length: {length}\r\nExpect: 100-continue\r\n\r\n"
        )
    };
    for (path, length, status) in [
        ("/v1/tables/nope/loads", "10", "404"),
        ("/v1/tables/t/loads?columns=x", "10", "422"),
        ("/v1/tables/t/loads?x=1", "10", "400"),
        ("/v1/tables/t/loads", "3000000001", "413"),
    ] {
        let answer = raw(address, request(path, length).as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {answer}");
        assert!(!answer.contains("100 Continue"), "{path}: {answer}");
    }
    // Accepted, it is asked for; cut short, it is refused all the same.
    let answer = raw(address, request("/v1/tables/t/loads", "10").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 100 Continue\r\n"), "{answer}");
}

#[tokio::test]
async fn a_full_house_says_when_to_come_back() {
    let world = world().await;
    let first = Trickle::begin(&world, "t");
    first.send("id\n1\n");
    world.wait_for_job(|job| job["state"] == "running").await;
    let answer = world.load_csv("t", "id\n2\n").await;
    answer.problem(503, "saturated");
    assert!(answer.headers.contains_key("retry-after"));
    // The other engine is not concerned.
    assert_eq!(world.get("/v1/jobs").await.status, 200);
    first.finish().await.committed(1);
    world.load_csv("t", "id\n2\n").await.committed(1);
}

#[tokio::test]
async fn bodies_cut_short_load_nothing() {
    let world = world().await;
    let address = world.service.address();
    let head = format!("POST /v1/tables/t/loads HTTP/1.1\r\nHost: {address}\r\nContent-Type: text/csv\r\n");
    let cut = format!("{head}Content-Length: 100\r\n\r\nid\n1\n2\n");
    let unfinished = format!("{head}Transfer-Encoding: chunked\r\n\r\n7\r\nid\n1\n2\n\r\n");
    let broken = format!("{head}Transfer-Encoding: chunked\r\n\r\n7\r\nid\n1\n2\n\r\nzz\r\n");
    for request in [cut, unfinished, broken] {
        let answer = raw(address, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert!(answer.contains("application/problem+json") && answer.contains("truncated-body"), "{answer}");
        assert_eq!(world.db.count("t").await, 0);
    }
    world.wait_for_job(|job| job["reason"] == "truncated-body" && job["state"] == "failed").await;
    world.load_csv("t", "id\n1\n").await.committed(1);
}

/// A link with a delay, between a client and the service: each side's bytes arrive late, and a reset destroys what is on its way.
async fn slow_link(service: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(service).await.unwrap();
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = server.into_split();
            tokio::spawn(carry(from_client, to_server));
            tokio::spawn(carry(from_server, to_client));
        }
    });
    address
}

async fn carry(mut from: tokio::net::tcp::OwnedReadHalf, mut to: tokio::net::tcp::OwnedWriteHalf) {
    let mut buffer = vec![0; 1 << 20];
    loop {
        tokio::time::sleep(Duration::from_millis(20)).await;
        match from.read(&mut buffer).await {
            Ok(0) => return,
            Ok(length) if to.write_all(&buffer[..length]).await.is_ok() => {}
            // The one side is gone, so is the other; what was not carried yet is lost.
            _ => return drop(to),
        }
    }
}

const REQUESTS: &str = r#"
import sys, requests
def body():
    yield b"id,name\n1,a\nbad,b\n"
    row = b"1," + b"x" * 1022 + b"\n"
    for _ in range(int(sys.argv[2]) // 16384):
        yield row * 16
answer = requests.post(sys.argv[1], data=body(), headers={"Content-Type": "text/csv"})
print(answer.status_code, answer.json()["line"], answer.headers["Content-Type"])
"#;

#[tokio::test]
async fn an_early_refusal_reaches_clients_that_are_still_sending() {
    let world = world().await;
    let direct: SocketAddr = world.service.address().parse().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let gigabyte = dir.path().join("gigabyte.csv");
    run(std::process::Command::new("sh")
        .arg("-c")
        .arg(r#"{ printf 'id,name\n1,a\nbad,b\n'; yes "1,$(printf %01020d 0)" | head -c 1073741824; } > "$0""#)
        .arg(&gigabyte));
    let delayed = slow_link(direct).await;
    for (address, megabytes) in [(direct, 1024u64), (delayed, 64)] {
        let url = format!("http://{address}/v1/tables/t/loads");
        let (curl_url, file) = (url.clone(), gigabyte.clone());
        let curl = tokio::task::spawn_blocking(move || {
            let mut curl = std::process::Command::new("curl");
            curl.args(["-sS", "-X", "POST", "-H", "Content-Type: text/csv", "-w", "\n%{http_code}", "-T"])
                .arg(file)
                .arg(curl_url);
            run(&mut curl)
        });
        let answer = curl.await.unwrap();
        assert!(answer.ends_with("\n422") && answer.contains("\"line\":3"), "{answer}");

        let requests = tokio::task::spawn_blocking(move || {
            run(std::process::Command::new(python()).args(["-c", REQUESTS, &url, &(megabytes << 20).to_string()]))
        });
        assert_eq!(requests.await.unwrap().trim(), "422 3 application/problem+json");
    }
    assert_eq!(world.db.count("t").await, 0);
}

#[tokio::test]
async fn a_flood_of_tiny_frames_is_a_load_like_any_other() {
    let world = world().await;
    let pieces = "id,name\n"
        .bytes()
        .chain("1,abc\n".repeat(2000).into_bytes())
        .map(|byte| Ok::<_, std::io::Error>(vec![byte]));
    let body = reqwest::Body::wrap_stream(futures::stream::iter(pieces.collect::<Vec<_>>()));
    world.load_csv("t", body).await.committed(2000);
}
