//! Every line that a request causes can be found by its id, and a load's by its job; and no secret is in any.

use std::fs::File;
use std::path::PathBuf;

use serde_json::Value;

use crate::support::{Answer, Database, Service, Trickle, World};

/// A service whose log is kept.
struct Logged {
    world: World,
    log: tempfile::TempDir,
}

impl Logged {
    async fn new(filter: &str, format: &str) -> Logged {
        Logged::on(Database::create().await, filter, format, |url| url.to_owned()).await
    }

    async fn on(db: Database, filter: &str, format: &str, url: impl Fn(&str) -> String) -> Logged {
        db.sql("CREATE TABLE t (id int PRIMARY KEY)").await;
        let log = tempfile::tempdir().unwrap();
        let mut command = Service::command_logging(filter);
        command.args(["--log-format", format, "--database-url", &url(&db.url)]);
        command.stderr(File::create(log.path().join("log")).unwrap());
        let service = Service::spawn(command).await;
        Logged { world: World { db, service, http: reqwest::Client::new() }, log }
    }

    fn path(&self) -> PathBuf {
        self.log.path().join("log")
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.path()).unwrap()
    }

    /// The lines of a request, once its last one is there.
    async fn lines(&self, request_id: &str) -> Vec<Value> {
        for _ in 0..600 {
            let text = self.text();
            let lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
            let lines: Vec<Value> = lines.map(|line| serde_json::from_str(line).expect(line)).collect();
            for line in &lines {
                for field in ["timestamp", "level", "target", "message"] {
                    assert!(line[field].is_string(), "{line}");
                }
            }
            let of_request: Vec<Value> = lines.into_iter().filter(|line| line["request_id"] == request_id).collect();
            if of_request.iter().any(|line| line["target"] == "pgsluice::access") {
                return of_request;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        panic!("no access line of {request_id} within 30 s:\n{}", self.text());
    }

    async fn load(&self, request_id: &str, body: &str) -> Answer {
        let load = self.world.post("t", "text/csv").header("X-Request-Id", request_id).body(body.to_owned());
        Answer::of(load.send().await.unwrap()).await
    }
}

#[tokio::test]
async fn a_request_keeps_its_id_or_gets_one() {
    let world = World::new().await;
    let given = |id: &'static str| world.http.get(world.url("/healthz")).header("X-Request-Id", id).send();
    for id in ["a", "01a20551-def9-72e3-9d93-171f6703c1ea", "Root=1-67891233-abcdef012345678912345678", "a/b+c=:@._"] {
        assert_eq!(given(id).await.unwrap().headers()["x-request-id"], id);
    }
    let long: &'static str = "x".repeat(129).leak();
    for id in ["", "two words", "quo\"te", "tab\there", long] {
        let made = given(id).await.unwrap().headers()["x-request-id"].to_str().unwrap().to_owned();
        assert_eq!(made.parse::<uuid::Uuid>().unwrap().get_version_num(), 7, "{id:?} became {made}");
    }
    let twice = world
        .http
        .get(world.url("/healthz"))
        .header("X-Request-Id", "a")
        .header("X-Request-Id", "b")
        .send()
        .await
        .unwrap();
    assert!(twice.headers()["x-request-id"].to_str().unwrap().parse::<uuid::Uuid>().is_ok());
    // Also where somebody else than a handler answers.
    for path in ["/nowhere", "/v1/jobs/x", "/openapi.yaml"] {
        assert!(world.get(path).await.headers.contains_key("x-request-id"), "{path}");
    }
    let refused = world.http.get(world.url("/healthz")).header("Origin", "http://evil.example").send().await.unwrap();
    assert_eq!(refused.status(), 403);
    assert!(refused.headers().contains_key("x-request-id"));
}

#[tokio::test]
async fn every_line_of_a_load_has_its_request_and_its_job() {
    let logged = Logged::new("info", "json").await;
    let good = logged.load("good-1", "id\n1\n2\n").await.committed(2)["id"].clone();
    let bad = logged.load("bad-1", "id\nx\n").await.problem(422, "bad-row")["job_id"].clone();
    for (request, job, status, outcome) in [("good-1", good, 201, "committed"), ("bad-1", bad, 422, "failed")] {
        let lines = logged.lines(request).await;
        assert!(lines.iter().all(|line| line["job"] == job), "{lines:#?}");
        assert!(lines.iter().any(|line| line["target"] == "audit" && line["outcome"] == outcome), "{lines:#?}");
        let access: Vec<&Value> = lines.iter().filter(|line| line["target"] == "pgsluice::access").collect();
        assert_eq!(access.len(), 1);
        assert_eq!(access[0]["status"], status);
        assert_eq!(
            (access[0]["method"].as_str(), access[0]["path"].as_str()),
            (Some("POST"), Some("/v1/tables/t/loads"))
        );
        assert_eq!(access[0]["problem"].as_str(), (status == 422).then_some("bad-row"));
    }
    // What only asks, and is answered, is not there at this level.
    let healthz = logged.world.http.get(logged.world.url("/healthz")).header("X-Request-Id", "quiet-1");
    healthz.send().await.unwrap();
    logged.load("good-2", "id\n3\n").await.committed(1);
    logged.lines("good-2").await;
    assert!(!logged.text().contains("quiet-1"));
}

/// A warning that comes up in the middle of a load, at a level at which the request itself is not logged.
#[tokio::test]
async fn a_warning_has_the_ids_where_only_warnings_are_logged() {
    let logged = Logged::new("warn,pgsluice::access=info", "json").await;
    let request = logged.world.post("t", "text/csv").header("X-Request-Id", "torn-1");
    let load = Trickle::begin_with(request);
    load.send("id\n1\n");
    let job = logged.world.wait_for_job(|job| job["state"] == "running").await;
    logged.world.db.wait_until("SELECT count(pg_terminate_backend(pid)) > 0 FROM pg_stat_activity WHERE application_name = 'pgsluice bulk' AND datname = current_database() AND xact_start IS NOT NULL").await;
    load.finish().await.problem(503, "database-unavailable");
    let lines = logged.lines("torn-1").await;
    let warnings: Vec<&Value> = lines.iter().filter(|line| line["level"] == "WARN").collect();
    assert!(!warnings.is_empty(), "{lines:#?}");
    assert!(warnings.iter().all(|line| line["job"] == job["id"]), "{warnings:#?}");
}

#[tokio::test]
async fn no_secret_is_in_a_log_however_much_is_logged() {
    for format in ["json", "text"] {
        let with_password = |url: &str| {
            let (scheme, rest) = url.split_once("://").unwrap();
            let (login, place) = rest.split_once('@').unwrap();
            format!("{scheme}://{login}:geheim-pw@{place}")
        };
        let logged = Logged::on(Database::create().await, "trace", format, with_password).await;
        logged.load("loud-1", "id\n1\n").await.committed(1);
        let query = "/v1/jobs?limit=1&api_key=geheim-query";
        let request = logged
            .world
            .http
            .get(logged.world.url(query))
            .bearer_auth("geheim-token")
            .header("Cookie", "s=geheim-cookie");
        assert_eq!(request.send().await.unwrap().status(), 400);
        logged.world.get("/nowhere").await.problem(404, "not-found");
        let text = logged.text();
        assert!(text.len() > 1000 && text.contains("loud-1"), "{text}");
        assert!(!text.contains("geheim"), "{text}");
    }
}
