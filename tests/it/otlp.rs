//! Traces: a request is a span of its client's trace. For builds with the feature: `cargo test --features otlp --test it otlp::`.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::support::{Answer, Database, Service, World, python};

/// Takes what an exporter sends, by OpenTelemetry's own definitions, and prints each span.
const COLLECTOR: &str = r#"
import http.server, json
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse

def value(v): return getattr(v, v.WhichOneof("value"))

class Collector(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        assert self.path == "/v1/traces" and self.headers["Content-Type"] == "application/x-protobuf"
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            service = [value(a.value) for a in resource.resource.attributes if a.key == "service.name"]
            for span in (span for scope in resource.scope_spans for span in scope.spans):
                print(json.dumps({
                    "service": service, "name": span.name, "kind": span.kind, "trace": span.trace_id.hex(), "id": span.span_id.hex(),
                    "parent": span.parent_span_id.hex(), "attributes": {a.key: value(a.value) for a in span.attributes},
                    "nanos": span.end_time_unix_nano - span.start_time_unix_nano}), flush=True)
        answer = ExportTraceServiceResponse().SerializeToString()
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)
    def log_message(self, *args): pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector)
print(server.server_port, flush=True)
server.serve_forever()
"#;

struct Collector {
    process: Child,
    port: u16,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Collector {
    fn start() -> Collector {
        let mut process = Command::new(python()).args(["-c", COLLECTOR]).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let port = lines.next().unwrap().unwrap().parse().unwrap();
        Collector { process, port, lines }
    }

    /// Every span that came.
    fn stop(mut self) -> Vec<Value> {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        self.lines.map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect()
    }
}

async fn world(endpoint: &str) -> World {
    let db = Database::create().await;
    db.sql("CREATE TABLE t (id int)").await;
    let mut command = Service::command();
    command.args(["--database-url", &db.url]).env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint);
    let service = Service::spawn(command).await;
    World { db, service, http: reqwest::Client::new() }
}

async fn load(world: &World, traceparent: &str, id: &str) -> Answer {
    let request = world.post("t", "text/csv").header("traceparent", traceparent).header("X-Request-Id", id);
    Answer::of(request.body("id\n1\n2\n").send().await.unwrap()).await
}

#[tokio::test]
async fn a_request_is_a_span_of_its_clients_trace() {
    let collector = Collector::start();
    let mut world = world(&format!("http://127.0.0.1:{}", collector.port)).await;
    let (trace, parent) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
    let job = load(&world, &format!("00-{trace}-{parent}-01"), "followed").await.committed(2)["id"].clone();
    load(&world, "nonsense", "alone").await.committed(2);
    // What was not sent yet is sent at the end.
    world.service.signal("TERM");
    assert_eq!(world.service.ended().await, Some(0));
    let spans = collector.stop();
    let of = |id: &str| {
        spans
            .iter()
            .find(|span| span["attributes"]["request_id"] == id)
            .unwrap_or_else(|| panic!("{spans:#?}"))
    };

    let followed = of("followed");
    assert_eq!((followed["trace"].as_str(), followed["parent"].as_str()), (Some(trace), Some(parent)));
    assert_eq!(followed["name"], "POST /v1/tables/{table}/loads");
    assert_eq!((followed["kind"].as_u64(), &followed["service"][0]), (Some(2), &Value::from("pgsluice")));
    let attributes = &followed["attributes"];
    assert_eq!((attributes["job"].clone(), attributes["http.response.status_code"].as_u64()), (job, Some(201)));
    // And what it took its time for stands below it.
    for name in ["admit", "load", "commit"] {
        let within: Vec<&Value> = spans.iter().filter(|span| span["name"] == name && span["trace"] == trace).collect();
        assert_eq!(within.len(), 1, "{name}: {spans:#?}");
        assert!(within[0]["nanos"].as_u64() <= followed["nanos"].as_u64());
    }
    let alone = of("alone");
    assert_ne!(alone["trace"], trace);
    assert_eq!(alone["parent"], "");
}

#[tokio::test]
async fn a_collector_that_is_not_there_is_no_obstacle() {
    let mut world = world("http://127.0.0.1:9").await;
    load(&world, "", "a").await.committed(2);
    world.service.signal("TERM");
    assert_eq!(world.service.ended().await, Some(0));
}
