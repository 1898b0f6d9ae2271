//! HTTPS: who is answered, with which certificate, and that nobody else is.

use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::certificates::{Authority, Certified, Dates, write};
use crate::support::http2::{Http2, client, connect};
use crate::support::{Database, Service, raw, run};

/// A service with a certificate for `localhost`.
pub(crate) struct Secured {
    pub(crate) db: Database,
    pub(crate) service: Service,
    pub(crate) dir: tempfile::TempDir,
    root: String,
    authority: Authority,
}

fn flags(dir: &std::path::Path) -> Vec<String> {
    let path = |name: &str| dir.join(name).display().to_string();
    vec!["--tls-cert".into(), path("tls.crt"), "--tls-key".into(), path("tls.key")]
}

fn write_pair(dir: &std::path::Path, certified: &Certified) {
    write(dir, "tls.crt", &certified.chain);
    write(dir, "tls.key", &certified.key);
}

impl Secured {
    pub(crate) async fn new() -> Secured {
        Secured::with(&[]).await
    }

    pub(crate) async fn with(more: &[&str]) -> Secured {
        let authority = Authority::new("the right one");
        let dir = tempfile::tempdir().unwrap();
        write_pair(dir.path(), &authority.certify("service", &["localhost"], Dates::Good));
        write(dir.path(), "root.crt", &authority.pem());
        let db = Database::create().await;
        let flags = flags(dir.path());
        let all: Vec<&str> = flags.iter().map(String::as_str).chain(more.iter().copied()).collect();
        let service = Service::start(&db.url, &all).await;
        let root = authority.pem();
        Secured { db, service, dir, root, authority }
    }

    /// Waits until a job is as the predicate wants it.
    pub(crate) async fn wait_for_job(&self, connection: &Http2, wanted: impl Fn(&Value) -> bool) -> Value {
        for _ in 0..600 {
            let page = connection.get("/v1/jobs").await.json;
            let jobs = page["jobs"].as_array().cloned().unwrap_or_default();
            if let Some(job) = jobs.into_iter().find(&wanted) {
                return job;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("no such job within 30 s");
    }

    /// Waits until a load has come so far that some of its body is there.
    pub(crate) async fn wait_for_load(&self, connection: &Http2) -> Value {
        self.wait_for_job(connection, |job| job["state"] == "running" && job["bytes_received"] != 0).await
    }

    /// Waits until a load is over, and holds that it came to nothing.
    pub(crate) async fn wait_for_failure(&self, connection: &Http2, load: &Value) {
        let ended = self.wait_for_job(connection, |job| job["id"] == load["id"] && job["state"] != "running").await;
        assert_ne!(ended["state"], "committed", "{ended:#}");
        assert_eq!(self.db.count("t").await, 0, "{ended:#}");
    }

    pub(crate) async fn connect(&self) -> Http2 {
        Http2::connect(&self.service, &self.root).await
    }

    fn url(&self, path: &str) -> String {
        let (_, port) = self.service.address().rsplit_once(':').unwrap();
        format!("https://localhost:{port}{path}")
    }

    /// curl, which trusts the authority.
    pub(crate) fn curl(&self, path: &str) -> Command {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--cacert"]).arg(self.dir.path().join("root.crt")).arg(self.url(path));
        curl
    }
}

#[tokio::test]
async fn both_protocols_and_both_versions_of_tls() {
    let secured = Secured::new().await;
    assert!(secured.service.url("/").starts_with("https://127.0.0.1:"));
    secured.db.sql("CREATE TABLE t (id int)").await;
    let file = write(secured.dir.path(), "t.csv", "id\n1\n");
    for (protocol, version) in [("--http2", "2"), ("--http1.1", "1.1")] {
        for tls in ["1.2", "1.3"] {
            let mut curl = secured.curl("/v1/tables/t/loads");
            curl.args([protocol, &format!("--tlsv{tls}"), "--tls-max", tls, "-X", "POST", "-H", "Content-Type: text/csv"]);
            curl.args(["-w", "\n%{http_version} %{http_code}", "-T"]).arg(&file);
            let answer = tokio::task::spawn_blocking(move || run(&mut curl)).await.unwrap();
            assert!(answer.ends_with(&format!("\n{version} 201")), "{answer}");
        }
    }
    assert_eq!(secured.db.count("t").await, 4);
    // One that trusts somebody else is not served, and one that speaks neither protocol.
    let stranger = client(&Authority::new("another one").pem(), None, "h2");
    assert!(connect(&secured.service, &stranger).await.is_err());
    assert!(connect(&secured.service, &client(&secured.root, None, "smtp")).await.is_err());
}

#[tokio::test]
async fn plain_http_is_told_where_it_is() {
    let secured = Secured::new().await;
    let address = secured.service.address();
    let body = "x".repeat(1 << 20);
    for request in [
        format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"),
        format!("POST /v1/tables/t/loads HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: 1048576\r\n\r\n{body}"),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
    ] {
        let answer = raw(address, request.as_bytes()).await;
        assert!(
            answer.starts_with("HTTP/1.1 400 ") && answer.contains("urn:problem-type:pgsluice:tls-required"),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn handshakes_that_stall_hold_up_nobody() {
    let secured = Secured::new().await;
    let address = secured.service.address();
    let mut stalled = Vec::new();
    for beginning in [&b""[..], &[22], &[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3]].repeat(30) {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(beginning).await.unwrap();
        stalled.push(stream);
    }
    assert_eq!(secured.connect().await.get("/healthz").await.status, 200);
    // They are given up in the end.
    for mut stream in stalled {
        let mut rest = Vec::new();
        let end = tokio::time::timeout(Duration::from_secs(60), stream.read_to_end(&mut rest)).await;
        assert!(end.is_ok(), "a handshake stalls for ever");
    }
    // What is no handshake at all, although it begins like one.
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(&[22; 4096]).await.unwrap();
    let _ = tokio::time::timeout(Duration::from_secs(60), stream.read_to_end(&mut Vec::new())).await.unwrap();
    assert_eq!(secured.connect().await.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn a_new_certificate_is_shown_without_a_restart() {
    let secured = Secured::new().await;
    let before = secured.connect().await;
    let next = Authority::new("the next one");
    let trusts_next = client(&next.pem(), None, "h2");
    // A certificate whose key is another, and none at all: the one before stays in use.
    for broken in [next.certify("service", &["localhost"], Dates::Good).chain, "nonsense".to_owned()] {
        write(secured.dir.path(), "tls.crt", &broken);
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(secured.connect().await.get("/healthz").await.status, 200);
        assert!(connect(&secured.service, &trusts_next).await.is_err());
    }
    write_pair(secured.dir.path(), &next.certify("service", &["localhost"], Dates::Good));
    let mut shown = false;
    for _ in 0..120 {
        shown = connect(&secured.service, &trusts_next).await.is_ok();
        if shown {
            break;
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    assert!(shown, "the new certificate is not in use after 30 s");
    let trusts_first = client(&secured.root, None, "h2");
    assert!(connect(&secured.service, &trusts_first).await.is_err());
    // Whoever was connected stays so.
    assert_eq!(before.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn clients_without_a_certificate_are_let_in_nowhere() {
    let clients = Authority::new("of the clients");
    let dir = tempfile::tempdir().unwrap();
    let path = write(dir.path(), "clients.crt", &clients.pem());
    let secured = Secured::with(&["--tls-client-ca", path.to_str().unwrap()]).await;
    let service = &secured.service;
    let get = |identity: Option<Certified>| {
        let connector = client(&secured.root, identity.as_ref(), "http/1.1");
        async move {
            // With TLS 1.3 a client learns of its refusal when it reads.
            let mut stream = connect(service, &connector).await.ok()?;
            stream
                .write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                .await
                .ok()?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.ok()?;
            Some(answer)
        }
    };
    let good = get(Some(clients.certify("somebody", &[], Dates::Good))).await.unwrap();
    assert!(good.starts_with("HTTP/1.1 200 "), "{good}");
    for identity in
        [None, Some(clients.certify("somebody", &[], Dates::Expired)), Some(secured.authority.certify("somebody", &[], Dates::Good))]
    {
        assert_eq!(get(identity).await, None);
    }
}

#[tokio::test]
async fn hosts_and_origins_are_checked_whatever_the_protocol() {
    let secured = Secured::new().await;
    secured.db.sql("CREATE TABLE t (id int)").await;
    let connection = secured.connect().await;
    let own = secured.url("");
    let load = || http::Request::post("/").header("Content-Type", "text/csv");
    let path = "/v1/tables/t/loads";
    let host = own.trim_start_matches("https://");
    for (authority, request) in [
        ("evil.example", load()),
        (host, load().header("Origin", "https://evil.example")),
        (host, load().header("Origin", "null")),
        (host, load().header("Host", "evil.example")),
        ("evil.example", load().header("Host", host)),
    ] {
        let upload = connection.send_to(authority, request, path, false).await;
        upload.finish("id\n1\n").await.problem(403, "foreign-origin");
    }
    connection
        .send(load().header("Origin", own.clone()), path, false)
        .await
        .finish("id\n1\n")
        .await
        .committed(1);
    connection.send(load().header("Host", host), path, false).await.finish("id\n1\n").await.committed(1);
    assert_eq!(secured.db.count("t").await, 2);
}

#[tokio::test]
async fn a_body_cut_short_inside_tls_loads_nothing() {
    let secured = Secured::new().await;
    secured.db.sql("CREATE TABLE t (id int)").await;
    let connector = client(&secured.root, None, "http/1.1");
    let admin = secured.connect().await;
    for (length, orderly) in [("Content-Length: 100", true), ("Content-Length: 100", false), ("Transfer-Encoding: chunked", true)] {
        let mut stream = connect(&secured.service, &connector).await.unwrap();
        let head = format!("POST /v1/tables/t/loads HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/csv\r\n{length}\r\n\r\n");
        let body = if orderly && length.starts_with('T') { "5\r\nid\n1\n\r\n" } else { "id\n1\n" };
        stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        let job = secured.wait_for_load(&admin).await;
        if orderly {
            // close_notify says that this is all, and HTTP knows that it is not.
            stream.shutdown().await.unwrap();
        } else {
            drop(stream);
        }
        secured.wait_for_failure(&admin, &job).await;
    }
}

#[tokio::test]
async fn files_that_are_no_good_are_named_before_anything_starts() {
    let authority = Authority::new("the right one");
    let good = authority.certify("service", &["localhost"], Dates::Good);
    let other = authority.certify("service", &["localhost"], Dates::Good);
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| write(dir.path(), name, text).display().to_string();
    let (certificate, key) = (file("tls.crt", &good.chain), file("tls.key", &good.key));
    let (other_key, empty) = (file("other.key", &other.key), file("empty.pem", ""));
    for (arguments, named) in [
        (vec!["--tls-cert", &certificate], "--tls-key"),
        (vec!["--tls-key", &key], "--tls-cert"),
        (vec!["--tls-client-ca", &certificate], "--tls-cert"),
        (vec!["--tls-cert", &certificate, "--tls-key", &other_key], "other.key"),
        (vec!["--tls-cert", &key, "--tls-key", &key], "no certificate in it"),
        (vec!["--tls-cert", &certificate, "--tls-key", &certificate], "no private key in it"),
        (vec!["--tls-cert", "/nowhere/tls.crt", "--tls-key", &key], "/nowhere/tls.crt"),
        (vec!["--tls-cert", &certificate, "--tls-key", &key, "--tls-client-ca", &empty], "empty.pem"),
    ] {
        let mut command = Service::command();
        command.args(["--data-dir", "/nonexistent/and/not/needed"]).args(&arguments).stdin(Stdio::null());
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(named), "{arguments:?}: {said}");
        assert!(!said.contains("PRIVATE"), "{said}");
    }
}
