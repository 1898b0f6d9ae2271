//! EDGE: HTTP in, HTTP out. The only place that knows status codes.

mod auth;
mod connection;
mod events;
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
mod reload;
mod serve;
mod streams;
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

use tokio_util::sync::CancellationToken;
use tower::ServiceBuilder;

use self::metrics::Metrics;
pub use self::openapi::DOCUMENT as OPENAPI;
pub use self::problem::Documents;
pub use self::serve::{Shutdown, serve};
use self::streams::Streams;
pub use self::tls::{Tls, TlsError};
use crate::access::{Gate, Role};
use crate::config;
use crate::jobs::Conductor;

/// What every handler is given.
#[derive(Debug)]
pub struct Edge {
    conductor: Conductor,
    /// where whoever asks has to say who they are
    gate: Option<Gate>,
    settings: config::Http,
    draining: AtomicBool,
    /// the last connections are being closed
    closing: CancellationToken,
    streams: Streams,
    metrics: Metrics,
}

impl Edge {
    /// An edge in front of this conductor. Without a gate, nobody is asked who they are.
    pub fn new(conductor: Conductor, gate: Option<Gate>, settings: config::Http) -> Arc<Edge> {
        let metrics = Metrics::new(&conductor);
        Arc::new(Edge {
            conductor,
            gate,
            streams: Streams::new(settings.event_streams_max, metrics.event_streams.clone()),
            settings,
            draining: AtomicBool::new(false),
            closing: CancellationToken::new(),
            metrics,
        })
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
    /// who may come here; `None` is everybody, without a key
    pub roles: Option<&'static [Role]>,
    handlers: MethodRouter<Arc<Edge>>,
}

/// Everybody with a key: what they see is what their role lets them.
const KNOWN: Option<&[Role]> = Some(&Role::ALL);
const LOADERS: Option<&[Role]> = Some(&[Role::Load, Role::Admin]);
/// What shows sums over everybody's loads.
const OVERSEERS: Option<&[Role]> = Some(&[Role::Read, Role::Admin]);
/// For probes, which have no key.
const OPEN: Option<&[Role]> = None;

/// The table of contents.
pub fn routes() -> Vec<Route> {
    let route = |path, methods, roles, handlers| Route { path, methods, roles, handlers };
    vec![
        route("/v1/tables/{table}/loads", &["post"], LOADERS, post(loads::create)),
        route("/v1/tables/{table}", &["get"], KNOWN, get(tables::show)),
        route("/v1/jobs", &["get"], KNOWN, get(jobs::list)),
        route("/v1/jobs/{id}", &["get"], KNOWN, get(jobs::show)),
        route("/v1/jobs/{id}/events", &["get"], KNOWN, get(events::of_job)),
        route("/v1/jobs/{id}/rejects", &["get"], KNOWN, get(rejects::show)),
        route("/v1/jobs/{id}/cancel", &["post"], LOADERS, post(jobs::cancel)),
        route("/v1/events", &["get"], KNOWN, get(events::of_all)),
        route("/healthz", &["get"], OPEN, get(health::healthz)),
        route("/readyz", &["get"], OPEN, get(health::readyz)),
        route("/metrics", &["get"], OVERSEERS, get(metrics::show)),
        route("/openapi.yaml", &["get"], OPEN, get(openapi::show)),
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
        let handlers = match route.roles {
            Some(roles) => route.handlers.layer(middleware::from_fn_with_state((Arc::clone(&edge), roles), auth::check)),
            None => route.handlers,
        };
        router = router.route(route.path, handlers);
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
