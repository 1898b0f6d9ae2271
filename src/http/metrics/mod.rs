//! `GET /metrics`: what a Prometheus needs to know. docs/METRICS.md lists the names, and a test holds it to them.

mod collect;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
pub(super) use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use self::collect::Jobs;
use super::Edge;
use super::problem::Problem;
use crate::jobs::Conductor;
use crate::telemetry::Latency;
use crate::telemetry::exposition::{self, Form};
use crate::telemetry::process::Process;

type Labels = Vec<(&'static str, String)>;

/// What the edge counts itself, and where everything is read from.
#[derive(Debug)]
pub(super) struct Metrics {
    registry: Registry,
    requests: Family<Labels, Counter>,
    latency: Latency,
    problems: Family<Labels, Counter>,
    /// requests without an answer yet
    pub(super) in_flight: Gauge,
    /// streams of events that are open
    pub(super) event_streams: Gauge,
}

/// What is told apart of requests; each has few values, whatever clients send.
#[derive(Debug, Clone)]
pub(super) struct Kind {
    pub(super) method: &'static str,
    pub(super) route: String,
}

impl Metrics {
    pub(super) fn new(conductor: &Conductor) -> Metrics {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Process));
        let ours = registry.sub_registry_with_prefix("pgsluice");
        let (requests, problems, in_flight) = (Family::default(), Family::default(), Gauge::default());
        let latency = Latency::default();
        let build: Family<Labels, Gauge> = Family::default();
        build.get_or_create(&vec![("version", env!("CARGO_PKG_VERSION").to_owned())]).set(1);
        ours.register("build_info", "Always 1; its label says what runs", build);
        ours.register_collector(Box::new(Jobs::new(conductor.clone())));
        let queries = conductor.query_latency().family();
        ours.register_with_unit("oltp_query", "Queries on the metadata, the wait for a connection included", Unit::Seconds, queries);
        ours.register(
            "http_requests",
            "Requests that were answered; 499: the client left before",
            Family::clone(&requests),
        );
        let help = "From a request's head to its answer's head, which for a load is its commit";
        ours.register_with_unit("http_request", help, Unit::Seconds, latency.family());
        ours.register("http_requests_in_flight", "Requests without an answer yet", in_flight.clone());
        ours.register(
            "problems",
            "Answers that are problem documents, by the short name of their type",
            Family::clone(&problems),
        );
        let event_streams = Gauge::default();
        ours.register("event_streams", "Streams of events that are open", event_streams.clone());
        Metrics { registry, requests, latency, problems, in_flight, event_streams }
    }

    /// One request has got its answer, or nobody waits for it any more.
    pub(super) fn count(&self, kind: &Kind, status: u16, took: Duration) {
        let labels = vec![("method", kind.method.to_owned()), ("route", kind.route.clone()), ("status", status.to_string())];
        self.requests.get_or_create_owned(&labels).inc();
        self.latency.observe(&[("method", kind.method), ("route", &kind.route)], took);
    }

    /// The answer is a problem document.
    pub(super) fn count_problem(&self, code: &'static str) {
        self.problems.get_or_create_owned(&vec![("code", code.to_owned())]).inc();
    }
}

pub(super) async fn show(State(edge): State<Arc<Edge>>, headers: HeaderMap) -> Result<Response, Problem> {
    let accept: Vec<&str> = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let form = Form::accepted(&accept.join(","));
    let page = exposition::encode(&edge.metrics.registry, form).map_err(|error| Problem::defect(error.to_string()))?;
    Ok(([(header::CONTENT_TYPE, HeaderValue::from_static(form.content_type()))], page).into_response())
}
