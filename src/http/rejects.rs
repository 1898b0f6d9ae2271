//! `GET /v1/jobs/{id}/rejects`: the rows that a load turned away, as a report or as a body that can be corrected and sent again.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use uuid::Uuid;

use super::Edge;
use super::jobs::find;
use super::problem::{Problem, metadata};
use crate::access::Caller;
use crate::error::DatabaseError;
use crate::jobs::{Job, Rejected};

const NDJSON: &str = "application/x-ndjson";

/// What the answer holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum View {
    /// one JSON object a row: where it stands and what is wrong with it
    Report,
    /// the records as they came
    Records,
}

pub(super) async fn show(
    State(edge): State<Arc<Edge>>,
    Extension(caller): Extension<Caller>,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let job = find(&edge, &caller, path).await?;
    let media = records_media(&job);
    let view = view(&headers, media)?;
    if !job.state.is_final() {
        let detail = format!("job {} is {}: its rejects can be read when it has ended", job.id, job.state.name());
        return Err(Problem::new(StatusCode::CONFLICT, "still-running", "The job still runs", detail));
    }
    let header = match view {
        View::Report => None,
        View::Records => edge.conductor.rejects_header(job.id).await.map_err(|error| metadata(&error))?,
    };
    let content_type = match (view, media, header.is_some()) {
        (View::Report, _, _) => NDJSON.to_owned(),
        (View::Records, "text/csv", true) => "text/csv; charset=utf-8; header=present".to_owned(),
        (View::Records, "text/csv", false) => "text/csv; charset=utf-8; header=absent".to_owned(),
        (View::Records, media, _) => media.to_owned(),
    };
    let header = header.map(|mut header| {
        header.push(b'\n');
        Ok(Bytes::from(header))
    });
    let body = Body::from_stream(stream::iter(header).chain(pages(edge, job.id, view)));
    let content_type = HeaderValue::try_from(content_type).unwrap_or(HeaderValue::from_static(NDJSON));
    Ok(([(header::CONTENT_TYPE, content_type)], body).into_response())
}

/// What the records of a job are written in. Those of typed formats are made into CSV.
fn records_media(job: &Job) -> &'static str {
    match job.format.as_str() {
        "text" => "text/tab-separated-values",
        "ndjson" => "application/jsonl",
        _ => "text/csv",
    }
}

/// The first of the types that are accepted and there is. (Weights are not looked at: nobody who names both wants the worse one.)
fn view(headers: &HeaderMap, media: &str) -> Result<View, Problem> {
    let mut asked = false;
    for value in headers.get_all(header::ACCEPT) {
        for range in value.to_str().unwrap_or_default().split(',') {
            let essence = range.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
            asked |= !essence.is_empty();
            match essence.as_str() {
                NDJSON | "application/ndjson" | "application/*" | "*/*" => return Ok(View::Report),
                essence if essence == media || essence == "text/*" && media.starts_with("text/") => return Ok(View::Records),
                _ => {}
            }
        }
    }
    if !asked {
        return Ok(View::Report);
    }
    let detail = format!("the rejects of this job are there as {NDJSON} (a report) and as {media} (the records as they came)");
    Err(Problem::new(StatusCode::NOT_ACCEPTABLE, "not-acceptable", "Not in that form", detail))
}

/// Page after page; memory does not depend on how many there are.
fn pages(edge: Arc<Edge>, job: Uuid, view: View) -> impl Stream<Item = Result<Bytes, DatabaseError>> {
    stream::try_unfold((edge, 0), move |(edge, after)| async move {
        let page = edge.conductor.rejects(job, after).await?;
        let Some(last) = page.last().map(|reject| reject.number) else {
            return Ok(None);
        };
        Ok(Some((written(&page, view), (edge, last))))
    })
}

fn written(page: &[Rejected], view: View) -> Bytes {
    let mut out = Vec::new();
    for reject in page {
        match view {
            View::Report => out.extend_from_slice(&serde_json::to_vec(reject).unwrap_or_default()),
            View::Records => out.extend_from_slice(&reject.record),
        }
        out.push(b'\n');
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_accepted_decides_what_is_shown() {
        let shown = |accept: Option<&'static str>| {
            let headers = accept.map(|accept| (header::ACCEPT, HeaderValue::from_static(accept)));
            view(&headers.into_iter().collect(), "text/csv").map_err(|problem| problem.into_response().status())
        };
        for accept in [None, Some("*/*"), Some("application/x-ndjson"), Some("text/html, */*;q=0.1")] {
            assert_eq!(shown(accept), Ok(View::Report), "{accept:?}");
        }
        for accept in ["text/csv", "TEXT/CSV; header=present", "text/html, text/csv", "text/*"] {
            assert_eq!(shown(Some(accept)), Ok(View::Records), "{accept}");
        }
        assert_eq!(shown(Some("image/png")), Err(StatusCode::NOT_ACCEPTABLE));
    }
}
