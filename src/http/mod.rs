//! EDGE: HTTP in, HTTP out. The only place that knows status codes.

mod connection;
mod fields;
mod guard;
mod health;
mod jobs;
mod loads;
mod metrics;
mod observe;
mod openapi;
mod options;
mod peer;
mod problem;
mod rejects;
mod serve;
mod tables;
mod tls;
mod upload;
mod whole;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use axum::Router;
use axum::http::{HeaderValue, header};
use axum::middleware;
use axum::response::Response;
use axum::routing::{MethodRouter, get, post};

use tower::ServiceBuilder;

use self::metrics::Metrics;
pub use self::openapi::DOCUMENT as OPENAPI;
pub use self::problem::Documents;
pub use self::serve::{Shutdown, serve};
pub use self::tls::{Tls, TlsError};
use crate::config;
use crate::jobs::Conductor;

/// What every handler is given.
#[derive(Debug)]
pub struct Edge {
    conductor: Conductor,
    settings: config::Http,
    draining: AtomicBool,
    metrics: Metrics,
}

impl Edge {
    /// An edge in front of this conductor.
    pub fn new(conductor: Conductor, settings: config::Http) -> Arc<Edge> {
        let metrics = Metrics::new(&conductor);
        Arc::new(Edge { conductor, settings, draining: AtomicBool::new(false), metrics })
    }

    fn is_draining(&self) -> bool {
        self.draining.load(Relaxed)
    }
}

/// One path with its methods.
#[derive(Debug)]
pub struct Route {
    /// as axum and OpenAPI write it
    pub path: &'static str,
    /// in lower case, as OpenAPI writes them
    pub methods: &'static [&'static str],
    handlers: MethodRouter<Arc<Edge>>,
}

/// The table of contents.
pub fn routes() -> Vec<Route> {
    let route = |path, methods, handlers| Route { path, methods, handlers };
    vec![
        route("/v1/tables/{table}/loads", &["post"], post(loads::create)),
        route("/v1/tables/{table}", &["get"], get(tables::show)),
        route("/v1/jobs", &["get"], get(jobs::list)),
        route("/v1/jobs/{id}", &["get"], get(jobs::show)),
        route("/v1/jobs/{id}/rejects", &["get"], get(rejects::show)),
        route("/v1/jobs/{id}/cancel", &["post"], post(jobs::cancel)),
        route("/healthz", &["get"], get(health::healthz)),
        route("/readyz", &["get"], get(health::readyz)),
        route("/metrics", &["get"], get(metrics::show)),
        route("/openapi.yaml", &["get"], get(openapi::show)),
    ]
}

/// A job's state is true at the moment it is asked for: no cache on the way may keep it.
fn never_cached(mut response: Response) -> Response {
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The service, ready to be served.
pub fn router(edge: Arc<Edge>) -> Router {
    let mut router = Router::new();
    for route in routes() {
        router = router.route(route.path, route.handlers);
    }
    router
        .fallback(problem::no_such_path)
        .method_not_allowed_fallback(problem::method_not_allowed)
        .layer(
            ServiceBuilder::new()
                .layer(middleware::from_fn_with_state(Arc::clone(&edge), observe::observe))
                .map_response(never_cached)
                .layer(middleware::from_fn_with_state(Arc::clone(&edge), guard::check)),
        )
        .with_state(edge)
}
