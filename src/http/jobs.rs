//! `/v1/jobs`

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::{Extension, Json};
use serde::Serialize;
use uuid::Uuid;

use super::Edge;
use super::fields;
use super::guard;
use super::observe::note_job;
use super::options::{Query, invalid};
use super::problem::{Problem, metadata};
use crate::access::{Caller, Sight};
use crate::jobs::{Filter, Job, State as JobState};

const LIMIT_DEFAULT: u32 = 50;
const LIMIT_MAX: u32 = 1000;

#[derive(Debug, Serialize)]
pub(super) struct Page {
    jobs: Vec<Job>,
    next_cursor: Option<Uuid>,
}

pub(super) async fn list(
    State(edge): State<Arc<Edge>>,
    Extension(caller): Extension<Caller>,
    RawQuery(query): RawQuery,
) -> Result<Json<Page>, Problem> {
    let mut filter = filter(query.as_deref(), caller.principal.sight())?;
    // One more than asked for tells whether there is a next page.
    let limit = filter.limit;
    filter.limit += 1;
    let mut jobs = edge.conductor.jobs(&filter).await.map_err(|error| metadata(&error))?;
    let more = jobs.len() > limit as usize;
    jobs.truncate(limit as usize);
    let next_cursor = jobs.last().filter(|_| more).map(|job| job.id);
    Ok(Json(Page { jobs, next_cursor }))
}

fn filter(query: Option<&str>, sight: Sight) -> Result<Filter, Problem> {
    let mut query = Query::parse(query)?;
    let state = query
        .take("state")
        .map(|name| JobState::from_name(&name).ok_or_else(|| invalid("state is running, committing, committed, failed or cancelled")));
    let limit = query.take("limit").map(|text| {
        let limit = text.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
        limit.ok_or_else(|| invalid(format!("limit is a whole number from 1 to {LIMIT_MAX}")))
    });
    let before = query
        .take("cursor")
        .map(|text| text.parse().map_err(|_| invalid("cursor is the next_cursor of an earlier answer")));
    let filter = Filter {
        sight,
        state: state.transpose()?,
        table: query.take("table"),
        idempotency_key: query.take("idempotency_key").map(|text| fields::key(&text)).transpose()?,
        before: before.transpose()?,
        limit: limit.transpose()?.unwrap_or(LIMIT_DEFAULT),
    };
    query.finish("state, table, idempotency_key, limit, cursor")?;
    Ok(filter)
}

pub(super) async fn show(
    State(edge): State<Arc<Edge>>,
    Extension(caller): Extension<Caller>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Json<Job>, Problem> {
    find(&edge, &caller, path).await.map(Json)
}

/// The job that a path names. One that the caller may not see is answered as one that there is not.
pub(super) async fn find(edge: &Edge, caller: &Caller, path: Result<Path<String>, PathRejection>) -> Result<Job, Problem> {
    let id = job_id(path)?;
    let job = edge.conductor.job(id, &caller.principal.sight()).await.map_err(|error| metadata(&error))?;
    job.ok_or_else(|| no_such_job(&id.to_string()))
}

pub(super) async fn cancel(
    State(edge): State<Arc<Edge>>,
    Extension(caller): Extension<Caller>,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Json<Job>, Problem> {
    guard::refuse_forms(&headers)?;
    let id = job_id(path)?;
    let found = edge.conductor.cancel(id, &caller).await.map_err(|error| metadata(&error))?;
    let (job, requested) = found.ok_or_else(|| no_such_job(&id.to_string()))?;
    if requested {
        return Ok(Json(job));
    }
    let detail = format!("job {id} is {} and can no longer be cancelled", job.state.name());
    Err(Problem::new(StatusCode::CONFLICT, "not-running", "The job does not run", detail))
}

fn job_id(path: Result<Path<String>, PathRejection>) -> Result<Uuid, Problem> {
    let Path(text) = path.map_err(|error| Problem::bad_request("invalid-path", error.body_text()))?;
    let id = text.parse().map_err(|_| no_such_job(&text))?;
    note_job(id);
    Ok(id)
}

pub(super) fn no_such_job(id: &str) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "job-not-found", "No such job", format!("there is no job {id:?}"))
}
