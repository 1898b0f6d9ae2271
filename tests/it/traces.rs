//! A request is a span in its caller's trace, a load's stages are its children, and nobody waits for a collector.

use std::fs::File;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind, status::StatusCode};
use serde_json::Value;

use crate::support::certificates::{Authority, Dates, write};
use crate::support::collector::{Collector, attribute, hexadecimal};
use crate::support::{Answer, Database, Service, World, make_key};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";
/// Far more than a stop needs, and far less than a collector that hangs would take.
const STOPPED_WITHIN: Duration = Duration::from_secs(20);

/// `pgsluice serve` that sends its spans every tenth of a second.
fn command(endpoint: &str) -> Command {
    let mut command = Service::command();
    command.args(["--otlp-endpoint", endpoint]).env("OTEL_BSP_SCHEDULE_DELAY", "100");
    command
}

async fn world(mut command: Command, flags: &[&str]) -> World {
    let db = Database::create().await;
    db.sql("CREATE TABLE t (id int PRIMARY KEY, name text)").await;
    command.args(["--database-url", &db.url]).args(flags);
    let service = Service::spawn(command).await;
    World::of(db, service)
}

async fn load(world: &World, traceparent: &str, body: &str) -> Answer {
    let request = world
        .post("t", "text/csv")
        .header("traceparent", traceparent)
        .header("tracestate", "vendor=its-own");
    Answer::of(request.body(body.to_owned()).send().await.unwrap()).await
}

fn sampled(trace: &str) -> String {
    format!("00-{trace}-{PARENT}-01")
}

#[track_caller]
fn named<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let mut found = spans.iter().filter(|span| span.name == name);
    let first = found.next().unwrap_or_else(|| panic!("no {name:?} in {spans:#?}"));
    assert!(found.next().is_none(), "two of {name:?} in {spans:#?}");
    first
}

fn code(span: &Span) -> StatusCode {
    span.status.as_ref().map_or(StatusCode::Unset, |status| status.code())
}

const POST: &str = "POST /v1/tables/{table}/loads";

#[tokio::test]
async fn a_load_is_in_its_callers_trace_with_its_stages() {
    let collector = Collector::start().await;
    let world = world(command(&collector.url), &[]).await;
    let job = load(&world, &sampled(TRACE), "id,name\n1,a\n2,b\n").await.committed(2)["id"].clone();
    let spans = collector.trace(TRACE, POST).await;
    let request = named(&spans, POST);
    assert_eq!(hexadecimal(&request.parent_span_id), PARENT);
    assert_eq!((request.kind(), code(request)), (SpanKind::Server, StatusCode::Unset));
    assert_eq!(request.trace_state, "vendor=its-own");
    for (key, value) in [
        ("http.request.method", "POST"),
        ("http.route", "/v1/tables/{table}/loads"),
        ("url.path", "/v1/tables/t/loads"),
        ("http.response.status_code", "201"),
        ("pgsluice.job_id", job.as_str().unwrap()),
    ] {
        assert_eq!(attribute(request, key).as_deref(), Some(value), "{key}");
    }
    assert_eq!(attribute(request, "error.type"), None);
    let whole = named(&spans, "load");
    for (key, value) in [
        ("db.system.name", "postgresql"),
        ("db.collection.name", "public.t"),
        ("pgsluice.job_id", job.as_str().unwrap()),
        ("pgsluice.format", "csv"),
        ("pgsluice.outcome", "committed"),
        ("pgsluice.rows_loaded", "2"),
        ("pgsluice.rows_received", "2"),
        ("pgsluice.rows_rejected", "0"),
        ("pgsluice.bytes_received", "16"),
    ] {
        assert_eq!(attribute(whole, key).as_deref(), Some(value), "{key}");
    }
    for (parent, children) in [
        (request, &["wait for slot", "find table", "create job", "load"][..]),
        (whole, &["copy", "ledger", "announce commit", "commit", "record end"]),
    ] {
        for child in children {
            let span = named(&spans, child);
            assert_eq!(span.parent_span_id, parent.span_id, "{child}");
            assert_eq!(code(span), StatusCode::Unset, "{child}");
            assert!(parent.start_time_unix_nano <= span.start_time_unix_nano && span.start_time_unix_nano <= span.end_time_unix_nano);
            assert!(span.end_time_unix_nano <= parent.end_time_unix_nano, "{child}");
        }
    }
    assert_eq!(named(&spans, "copy").kind(), SpanKind::Client);
    assert_eq!(spans.len(), 10, "{spans:#?}");
    assert_eq!(collector.resource("service.name").as_deref(), Some("pgsluice"));
}

#[tokio::test]
async fn a_load_that_fails_says_of_what_and_where() {
    let collector = Collector::start().await;
    let world = world(command(&collector.url), &[]).await;
    load(&world, &sampled(TRACE), "id,name\n1,geheim-a\ngeheim-b,c\n").await.problem(422, "bad-row");
    let spans = collector.trace(TRACE, POST).await;
    // That the client was wrong is no error of the server, but the load has failed.
    assert_eq!(code(named(&spans, POST)), StatusCode::Unset);
    assert_eq!(attribute(named(&spans, POST), "http.response.status_code").as_deref(), Some("422"));
    for span in [named(&spans, POST), named(&spans, "load")] {
        assert_eq!(attribute(span, "error.type").as_deref(), Some("bad-row"));
    }
    assert_eq!(attribute(named(&spans, "load"), "pgsluice.outcome").as_deref(), Some("failed"));
    assert_eq!((code(named(&spans, "load")), code(named(&spans, "copy"))), (StatusCode::Error, StatusCode::Error));
    assert!(!spans.iter().any(|span| ["ledger", "commit"].contains(&span.name.as_str())), "{spans:#?}");
    assert!(!collector.has_seen("geheim"));
}

#[tokio::test]
async fn an_answer_that_is_the_servers_fault_is_an_error() {
    let collector = Collector::start().await;
    let world = world(command(&collector.url), &["--bulk-slots", "1", "--bulk-slot-wait-ms", "1"]).await;
    let held = crate::support::Trickle::begin_with(world.post("t", "text/csv"));
    held.send("id,name\n1,a\n");
    world.wait_for_job(|job| job["state"] == "running").await;
    load(&world, &sampled(TRACE), "id,name\n2,b\n").await.problem(503, "saturated");
    held.finish().await.committed(1);
    let spans = collector.trace(TRACE, POST).await;
    assert_eq!(code(named(&spans, POST)), StatusCode::Error);
    assert_eq!(attribute(named(&spans, POST), "error.type").as_deref(), Some("saturated"));
    assert_eq!(code(named(&spans, "wait for slot")), StatusCode::Error);
    assert_eq!(spans.len(), 2, "{spans:#?}");
}

/// And what is asked by machines every few seconds is no trace; neither is anything of a caller who does not want one.
#[tokio::test]
async fn probes_and_what_the_caller_has_not_sampled_are_not_sent() {
    let collector = Collector::start().await;
    let mut world = world(command(&collector.url), &[]).await;
    load(&world, &format!("00-{TRACE}-{PARENT}-00"), "id,name\n1,a\n").await.committed(1);
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(world.get(path).await.status, 200, "{path}");
    }
    // One that makes no sense is none, and a trace begins here.
    let nonsense = world.http.get(world.url("/v1/jobs")).header("traceparent", "nonsense").send().await.unwrap();
    assert_eq!(nonsense.status(), 200);
    world.get("/geheim-nowhere").await.problem(404, "not-found");
    world.service.signal("TERM");
    assert_eq!(world.service.ended().await, Some(0));
    // Everything that there was has been sent before the end.
    let mut names: Vec<String> = collector.spans().into_iter().map(|span| span.name).collect();
    names.sort();
    assert_eq!(names, ["GET", "GET /v1/jobs"]);
    assert!(collector.spans().iter().all(|span| span.parent_span_id.is_empty()));
}

#[tokio::test]
async fn what_was_traced_last_is_sent_at_the_end() {
    let collector = Collector::start().await;
    let mut command = command(&collector.url);
    command.env("OTEL_BSP_SCHEDULE_DELAY", "3600000");
    let mut world = world(command, &[]).await;
    load(&world, &sampled(TRACE), "id,name\n1,a\n").await.committed(1);
    assert!(collector.spans().is_empty());
    world.service.signal("TERM");
    assert_eq!(world.service.ended().await, Some(0));
    named(&collector.spans(), POST);
}

#[tokio::test]
async fn the_standard_variables_say_where_and_who_and_how_often() {
    let collector = Collector::start().await;
    let mut command = Service::command();
    command
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
        .env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", format!("{}/as/it/is", collector.url))
        .env("OTEL_EXPORTER_OTLP_HEADERS", "x-api-key=its%20key")
        .env("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
        .env("OTEL_SERVICE_NAME", "loads")
        .env("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test,service.name=other")
        .env("OTEL_TRACES_SAMPLER", "parentbased_always_off")
        .env("OTEL_BSP_SCHEDULE_DELAY", "100");
    let world = world(command, &[]).await;
    assert_eq!(world.get("/v1/jobs").await.status, 200);
    load(&world, &sampled(TRACE), "id,name\n1,a\n").await.committed(1);
    collector.trace(TRACE, POST).await;
    assert!(collector.spans().iter().all(|span| hexadecimal(&span.trace_id) == TRACE));
    assert_eq!(collector.resource("service.name").as_deref(), Some("loads"));
    assert_eq!(collector.resource("deployment.environment.name").as_deref(), Some("test"));
    assert_eq!(collector.header("x-api-key").as_deref(), Some("its key"));
    assert_eq!(collector.header("content-type").as_deref(), Some("application/x-protobuf"));
}

#[tokio::test]
async fn nothing_is_sent_without_an_endpoint_or_when_all_is_switched_off() {
    let collector = Collector::start().await;
    for (variable, value) in [("OTEL_SERVICE_NAME", "x"), ("OTEL_SDK_DISABLED", "true")] {
        let mut command = Service::command();
        command.env(variable, value).env("OTEL_BSP_SCHEDULE_DELAY", "100");
        if variable == "OTEL_SDK_DISABLED" {
            command.env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url);
        }
        let mut world = world(command, &[]).await;
        load(&world, &sampled(TRACE), "id,name\n1,a\n").await.committed(1);
        world.service.signal("TERM");
        assert_eq!(world.service.ended().await, Some(0));
    }
    assert!(collector.spans().is_empty());
}

/// Each line of a load, in both formats and whatever the log lets through; and none of them is there because of traces.
#[tokio::test]
async fn a_line_of_the_log_names_its_trace() {
    let collector = Collector::start().await;
    for (format, filter, lines) in [("json", "info", 2..4), ("text", "trace", 3..100_000), ("json", "error", 0..1)] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut command = Service::command_logging(filter);
        command.args(["--log-format", format, "--otlp-endpoint", &collector.url]);
        command.env("OTEL_BSP_SCHEDULE_DELAY", "100").stderr(File::create(&path).unwrap());
        let mut world = world(command, &[]).await;
        let trace = uuid::Uuid::now_v7().simple().to_string();
        load(&world, &sampled(&trace), "id,name\n1,a\n").await.committed(1);
        let spans = collector.trace(&trace, POST).await;
        assert_eq!(spans.len(), 10, "{spans:#?}");
        world.service.signal("TERM");
        assert_eq!(world.service.ended().await, Some(0));
        let log = std::fs::read_to_string(path).unwrap();
        let of_trace: Vec<&str> = log.lines().filter(|line| line.contains(&trace)).collect();
        assert!(lines.contains(&of_trace.len()), "{format} {filter}: {log}");
        assert!(!log.contains("otel.") && !log.contains("pgsluice::trace:"), "{log}");
        if format == "json" {
            for line in of_trace {
                let line: Value = serde_json::from_str(line).unwrap();
                assert_eq!(line["trace_id"], trace);
                assert!(line["request_id"].is_string() && line["job"].is_string(), "{line}");
                assert!(line.get("http.route").is_none() && line.get("db.system.name").is_none(), "{line}");
            }
        }
    }
}

#[tokio::test]
async fn a_collector_that_is_dead_or_hangs_holds_up_nobody() {
    for endpoint in [Collector::nobody().await, Collector::hanging().await] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut command = command(&endpoint);
        // With room for so few spans that most find none.
        command.env("OTEL_BSP_MAX_QUEUE_SIZE", "4").env("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "2");
        command.env("OTEL_EXPORTER_OTLP_TIMEOUT", "600").stderr(File::create(&path).unwrap());
        let mut world = world(command, &[]).await;
        for row in 0..30 {
            load(&world, &sampled(TRACE), &format!("id,name\n{row},a\n")).await.committed(1);
        }
        let complained = async {
            while !std::fs::read_to_string(&path).unwrap().contains("traces are lost") {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), complained).await.expect("nobody is told");
        tokio::time::sleep(Duration::from_secs(2)).await;
        load(&world, &sampled(TRACE), "id,name\n100,a\n").await.committed(1);
        let stopping = Instant::now();
        world.service.signal("TERM");
        assert_eq!(world.service.ended().await, Some(0));
        assert!(stopping.elapsed() < STOPPED_WITHIN);
        let log = std::fs::read_to_string(path).unwrap();
        assert_eq!(log.matches("traces are lost").count(), 1, "{log}");
        assert!(log.contains("reason") && log.lines().count() <= 3, "{log}");
    }
}

#[tokio::test]
async fn a_collector_with_tls_has_to_be_the_one_that_is_meant() {
    let (right, wrong) = (Authority::new("the right one"), Authority::new("another one"));
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "root.crt", &right.pem());
    for (authority, is_right) in [(right, true), (wrong, false)] {
        let certified = authority.certify("collector", &["localhost"], Dates::Good);
        let (url, heard) = Collector::secured(&certified).await;
        // However the scheme is written, it is the same one.
        let mut command = command(&url.replace("https:", "HTTPS:"));
        command.env("OTEL_EXPORTER_OTLP_CERTIFICATE", dir.path().join("root.crt"));
        let world = world(command, &[]).await;
        assert_eq!(world.get("/v1/jobs").await.status, 200);
        let heard = tokio::time::timeout(Duration::from_secs(30), heard).await.unwrap();
        assert_eq!(heard.ok().as_deref(), is_right.then_some("POST /v1/traces HTTP/1.1\r\n"));
    }
}

/// With a batch on its way that the collector may take for ever.
#[tokio::test]
async fn the_service_does_not_wait_for_a_hanging_collector_to_end() {
    let endpoint = Collector::hanging().await;
    let mut command = command(&endpoint);
    command.env("OTEL_EXPORTER_OTLP_TIMEOUT", "3600000");
    let mut world = world(command, &[]).await;
    load(&world, &sampled(TRACE), "id,name\n1,a\n").await.committed(1);
    let stopping = Instant::now();
    world.service.signal("TERM");
    assert_eq!(world.service.ended().await, Some(0));
    assert!(stopping.elapsed() < STOPPED_WITHIN);
}

#[tokio::test]
async fn no_key_is_in_any_span() {
    let collector = Collector::start().await;
    let world = world(command(&collector.url), &["--require-keys"]).await;
    let key = make_key(&world.db.url, "load", "*.*", &[]);
    let secret = key.rsplit_once('_').unwrap().1;
    let with_key = |traceparent: String| {
        let request = world.post("t?api_key=geheim-query", "text/csv").header("traceparent", traceparent);
        request.bearer_auth(&key).header("Cookie", "s=geheim-cookie")
    };
    let refused = with_key(sampled(TRACE)).body("id,name\n1,geheim-row\n").send().await.unwrap();
    assert_eq!(refused.status(), 400);
    let request = world.post("t", "text/csv").header("traceparent", sampled(TRACE)).bearer_auth(&key);
    Answer::of(request.body("id,name\n1,geheim-row\n").send().await.unwrap()).await.committed(1);
    assert_eq!(
        world.http.get(world.url("/v1/jobs")).bearer_auth("geheim-wrong").send().await.unwrap().status(),
        401
    );
    collector.trace(TRACE, "load").await;
    collector.trace(TRACE, POST).await;
    for _ in 0..100 {
        if collector.spans().iter().any(|span| span.name == "GET /v1/jobs") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(collector.spans().iter().any(|span| span.name == "GET /v1/jobs"));
    assert!(!collector.has_seen("geheim") && !collector.has_seen(secret));
}

#[test]
fn an_endpoint_that_makes_no_sense_is_refused_at_the_start() {
    for (setting, value, said) in [
        ("PGSLUICE_OTLP_ENDPOINT", "collector:4318", "--otlp-endpoint: "),
        ("PGSLUICE_OTLP_ENDPOINT", "http://u:geheim@collector", "OTEL_EXPORTER_OTLP_HEADERS"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "grpc://collector:4317", "OTEL_EXPORTER_OTLP_ENDPOINT: "),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: "),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere.crt", "/nowhere.crt"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pgsluice"));
        command.args(["serve", "--database-url", "postgresql://127.0.0.1:1/none"]).env(setting, value);
        if !setting.ends_with("ENDPOINT") {
            command.args(["--otlp-endpoint", "https://collector:4318"]);
        }
        let output = command.stdout(Stdio::null()).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && text.contains(said), "{setting}={value}: {text}");
        assert!(!text.contains("geheim"), "{text}");
    }
}
