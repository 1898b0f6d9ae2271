//! What every test stands on: one throw-away PostgreSQL cluster per run, a database and a service per test.

pub(crate) mod arrow;
mod bouncer;
pub(crate) mod certificates;
mod cluster;
pub(crate) mod coding;
#[cfg(feature = "otlp")]
pub(crate) mod collector;
mod events;
pub(crate) mod http2;
mod keys;
mod proxy;
mod raw;
mod scrape;
mod server;
mod service;
mod standby;
mod tls_server;
pub(crate) mod tokens;
mod trickle;

use std::path::PathBuf;
use std::process::Command;

use reqwest::{Client, RequestBuilder, StatusCode};
use serde_json::Value;

pub(crate) use self::bouncer::Bouncer;
pub(crate) use self::cluster::{Database, server_pids};
pub(crate) use self::events::Events;
pub(crate) use self::keys::{keys, make_key};
pub(crate) use self::proxy::{Link, Proxy};
pub(crate) use self::raw::raw;
pub(crate) use self::scrape::{Family, Scrape};
pub(crate) use self::server::Server;
pub(crate) use self::service::{Service, signal};
pub(crate) use self::standby::Standby;
pub(crate) use self::tls_server::TlsServer;
pub(crate) use self::trickle::Trickle;

/// A database of its own with a service on it.
pub(crate) struct World {
    pub(crate) db: Database,
    pub(crate) service: Service,
    pub(crate) http: Client,
}

/// What a request was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) content_type: String,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) json: Value,
}

impl World {
    pub(crate) async fn new() -> World {
        World::with(&[]).await
    }

    /// With further flags for the service.
    pub(crate) async fn with(flags: &[&str]) -> World {
        let db = Database::create().await;
        let service = Service::start(&db.url, flags).await;
        World::of(db, service)
    }

    /// With a service that has its own way to the database.
    pub(crate) fn of(db: Database, service: Service) -> World {
        World { db, service, http: patient_client() }
    }

    /// With a link between the service and the target database that can be broken; the jobs' metadata go another way.
    pub(crate) async fn behind_proxy(flags: &[&str]) -> (World, Proxy) {
        let db = Database::create().await;
        let proxy = Proxy::before(&db.url).await.unwrap();
        let target = proxy.url(&db.url);
        let flags = [&["--bulk-database-url", &target], flags].concat();
        let service = Service::start(&db.url, &flags).await;
        (World::of(db, service), proxy)
    }

    pub(crate) fn url(&self, path: &str) -> String {
        self.service.url(path)
    }

    /// A load's request, ready to be sent.
    pub(crate) fn post(&self, table_and_options: &str, content_type: &str) -> RequestBuilder {
        let (table, options) = table_and_options.split_once('?').unwrap_or((table_and_options, ""));
        let url = self.url(&format!("/v1/tables/{table}/loads?{options}"));
        self.http.post(url).header("Content-Type", content_type)
    }

    pub(crate) async fn load(&self, table_and_options: &str, content_type: &str, body: impl Into<reqwest::Body>) -> Answer {
        Answer::of(self.post(table_and_options, content_type).body(body).send().await.unwrap()).await
    }

    pub(crate) async fn load_csv(&self, table_and_options: &str, body: impl Into<reqwest::Body>) -> Answer {
        self.load(table_and_options, "text/csv", body).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        Answer::of(self.http.get(self.url(path)).send().await.unwrap()).await
    }

    pub(crate) async fn job(&self, id: &str) -> Value {
        self.get(&format!("/v1/jobs/{id}")).await.json
    }

    /// Asks for a job to be cancelled.
    pub(crate) async fn cancel(&self, id: &str) -> Answer {
        let path = format!("/v1/jobs/{id}/cancel");
        Answer::of(self.http.post(self.url(&path)).send().await.unwrap()).await
    }

    /// Waits until the job that the predicate looks for is there.
    pub(crate) async fn wait_for_job(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        for _ in 0..600 {
            let page = self.get("/v1/jobs").await.json;
            let jobs = page["jobs"].as_array().cloned().unwrap_or_default();
            if let Some(job) = jobs.into_iter().find(&wanted) {
                return job;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        panic!("no such job within 30 s");
    }
}

/// A client that waits for a service which has to wait itself: without `TCP_USER_TIMEOUT`.
fn patient_client() -> Client {
    Client::builder().tcp_user_timeout(None).build().unwrap()
}

impl Answer {
    pub(crate) async fn of(response: reqwest::Response) -> Answer {
        let status = response.status();
        let headers = response.headers().clone();
        let content_type = headers.get("content-type").map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
        let text = response.text().await.unwrap();
        let json = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Answer { status, content_type, headers, json }
    }

    /// Holds that the load is committed with so many rows.
    #[track_caller]
    pub(crate) fn committed(&self, rows: u64) -> &Value {
        assert_eq!(self.status, StatusCode::CREATED, "{:#}", self.json);
        assert_eq!(self.json["state"], "committed");
        assert_eq!(self.json["rows_loaded"], rows, "{:#}", self.json);
        &self.json
    }

    /// Holds that this is a problem document of that status and short name.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16, name: &str) -> &Value {
        assert_eq!(self.json["type"], format!("urn:problem-type:pgsluice:{name}"), "{:#}", self.json);
        assert_eq!(self.status.as_u16(), status, "{:#}", self.json);
        assert_eq!(self.content_type, "application/problem+json");
        assert_eq!(self.json["status"], status);
        assert!(self.json["detail"].as_str().is_some_and(|detail| !detail.is_empty()));
        &self.json
    }
}

/// The Python that `make test` has prepared, with pyarrow and requests.
pub(crate) fn python() -> PathBuf {
    let target = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/test-venv/bin/python");
    assert!(target.exists(), "{} is missing: `make test` prepares it", target.display());
    target
}

/// Runs a program to its end and returns what it printed.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{text}\n{errors}", output.status);
    text
}
