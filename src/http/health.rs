//! `/healthz`: the process serves. `/readyz`: it can take a load now.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::Edge;
use super::problem::{Problem, metadata};

pub(super) async fn healthz() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

pub(super) async fn readyz(State(edge): State<Arc<Edge>>) -> Result<Json<Value>, Problem> {
    if edge.is_draining() {
        return Err(Problem::unavailable("shutting-down", "the service is shutting down"));
    }
    edge.conductor.ping().await.map_err(|error| metadata(&error))?;
    edge.conductor.ping_target().await?;
    Ok(Json(json!({ "status": "ready" })))
}
