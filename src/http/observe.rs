//! Sees every request and its answer, whoever gives it.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;

use super::Edge;
use super::metrics::Kind;
use super::problem::Code;

/// The client left before it was answered; nginx's number for it.
const CLIENT_GONE: u16 = 499;

pub(super) async fn observe(State(edge): State<Arc<Edge>>, request: Request, next: Next) -> Response {
    let visit = Visit::begin(edge, &request);
    let response = next.run(request).await;
    visit.end(&response);
    response
}

/// One request, until it is answered or dropped.
struct Visit {
    edge: Arc<Edge>,
    kind: Kind,
    since: Instant,
    status: u16,
    problem: Option<&'static str>,
}

impl Visit {
    fn begin(edge: Arc<Edge>, request: &Request) -> Visit {
        let route = request.extensions().get::<MatchedPath>().map_or("unmatched", MatchedPath::as_str);
        let kind = Kind { method: method_name(request.method()), route: route.to_owned() };
        edge.metrics.in_flight.inc();
        Visit { edge, kind, since: Instant::now(), status: CLIENT_GONE, problem: None }
    }

    fn end(mut self, response: &Response) {
        self.status = response.status().as_u16();
        self.problem = response.extensions().get::<Code>().map(|code| code.0);
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let metrics = &self.edge.metrics;
        metrics.in_flight.dec();
        metrics.count(&self.kind, self.status, self.since.elapsed());
        if let Some(code) = self.problem {
            metrics.count_problem(code);
        }
    }
}

/// Clients may send any method, and metrics must not grow with what they invent.
fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}
