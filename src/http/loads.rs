//! `POST /v1/tables/{table}/loads`

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};

use tracing::Instrument;

use super::Edge;
use super::observe::note_job;
use super::options::load_request;
use super::peer::Peer;
use super::problem::{Documents, Problem};
use super::upload::Upload;
use crate::access::Caller;
use crate::error::Stop;
use crate::ingest::Stopper;
use crate::jobs::{Admission, Failure, Job, Request, audit};
use crate::telemetry::Trace;

/// Says that an answer is the stored one of an earlier request; the name is in use by many, and in no standard.
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

pub(super) async fn create(
    State(edge): State<Arc<Edge>>,
    path: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
    Extension(peer): Extension<Peer>,
    Extension(caller): Extension<Caller>,
    request: axum::extract::Request,
) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let upload = Upload::new(body, head.version, &head.headers, &edge.settings).counted_against(caller.allowance.clone());
    let Path(table) = path.map_err(|error| Problem::bad_request("invalid-path", error.body_text()))?;
    let mut request = load_request(caller, table, query.as_deref(), &head.headers, edge.conductor.limits())?;
    request.trace = head.extensions.get().cloned().unwrap_or(Trace::NONE);
    if edge.is_draining() {
        let detail = "the service is shutting down and takes no new loads";
        return Err(Problem::unavailable("shutting-down", detail));
    }
    // On a task of its own: this handler is dropped when its client goes, and a load must get to its end in good order even then.
    let client = Presence::default();
    let load = tokio::spawn(load(edge, request, upload, peer, client.stopper()).in_current_span());
    let outcome = load.await.map_err(|panic| Problem::defect(format!("a load panicked: {panic}")))?;
    client.answered();
    let job = outcome?;
    let location = format!("/v1/jobs/{}", job.id);
    let replayed = job.replayed.then_some((REPLAYED, HeaderValue::from_static("true")));
    let mut response = (StatusCode::CREATED, [(header::LOCATION, location)], Json(job)).into_response();
    response.headers_mut().extend(replayed);
    Ok(response)
}

async fn load(edge: Arc<Edge>, request: Request, mut upload: Upload, peer: Peer, stopper: Stopper) -> Result<Job, Failure> {
    let (caller, table, trace) = (request.caller.clone(), request.table.clone(), request.trace.clone());
    let admission = edge
        .conductor
        .admit(request, &peer, stopper)
        .await
        .inspect_err(|failure| audit::refused(&caller, &table, failure))?;
    match admission {
        Admission::Accepted(accepted, _counted) => {
            note_job(accepted.job_id());
            trace.note_job(accepted.job_id());
            edge.conductor.run(*accepted, upload, &Documents).await
        }
        Admission::Replayed(job) => {
            note_job(job.id);
            trace.note_job(job.id);
            audit::replayed(&caller, &job);
            upload.linger_to_its_end(edge.conductor.limits());
            Ok(*job)
        }
    }
}

/// Stops the load when the client goes before it is answered.
#[derive(Debug, Default)]
struct Presence {
    stopper: Stopper,
    answered: bool,
}

impl Presence {
    fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    fn answered(mut self) {
        self.answered = true;
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        if !self.answered {
            self.stopper.stop(Stop::Disconnected);
        }
    }
}
