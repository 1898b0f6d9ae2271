//! `/openapi.yaml`: the document in the repository is the one that is served.

use axum::http::header;
use axum::response::IntoResponse;

/// The OpenAPI document.
pub const DOCUMENT: &str = include_str!("../../openapi.yaml");

pub(super) async fn show() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/yaml")], DOCUMENT)
}
