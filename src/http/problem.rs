//! RFC 9457: every error as `application/problem+json`, with a type that stays the same.

use std::hash::{BuildHasher, Hasher, RandomState};

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::fields;
use crate::error::{BodyError, DataError, DatabaseError, LoadError, Position, RowError, SlotError, SpoolError, Stop, TableError};
use crate::jobs::{Describe, Failure, rejects_url};

/// Whoever was refused together must not come back together, so each is told another time, from these.
const RETRY_AFTER_SECONDS: std::ops::RangeInclusive<u64> = 1..=4;

fn retry_after() -> u64 {
    let chance = RandomState::new().build_hasher().finish();
    let (first, last) = RETRY_AFTER_SECONDS.into_inner();
    first + chance % (last - first + 1)
}

/// An error as the client gets it.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Problem {
    #[serde(rename = "type")]
    type_uri: String,
    title: &'static str,
    #[serde(serialize_with = "status_number")]
    status: StatusCode,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    job_id: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    row: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    byte_offset: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    column_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sqlstate: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    misfits: Vec<String>,
    /// members that only a few types of problems have
    #[serde(flatten)]
    members: Map<String, Value>,
    #[serde(skip)]
    code: &'static str,
    #[serde(skip)]
    headers: Vec<(HeaderName, HeaderValue)>,
}

fn status_number<S: serde::Serializer>(status: &StatusCode, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u16(status.as_u16())
}

impl Problem {
    pub(super) fn new(status: StatusCode, code: &'static str, title: &'static str, detail: impl Into<String>) -> Problem {
        Problem {
            type_uri: format!("urn:problem-type:pgsluice:{code}"),
            title,
            status,
            detail: detail.into(),
            job_id: None,
            line: None,
            row: None,
            byte_offset: None,
            column: None,
            column_type: None,
            value: None,
            sqlstate: None,
            misfits: Vec::new(),
            members: Map::new(),
            code,
            headers: Vec::new(),
        }
    }

    pub(super) fn bad_request(code: &'static str, detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, code, "The request is malformed", detail)
    }

    pub(super) fn unavailable(code: &'static str, detail: impl Into<String>) -> Problem {
        let title = "The service cannot do this now";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, code, title, detail)
            .with_header(header::RETRY_AFTER, HeaderValue::from(retry_after()))
    }

    /// Nobody but us is to blame.
    pub(super) fn defect(detail: String) -> Problem {
        tracing::error!(detail, "a defect of pgsluice");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal-error", "A defect of pgsluice", detail)
    }

    pub(super) fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Problem {
        self.headers.push((name, value));
        self
    }

    /// With a further member.
    pub(super) fn with(mut self, name: &str, value: impl Into<Value>) -> Problem {
        self.members.insert(name.to_owned(), value.into());
        self
    }

    fn at(mut self, position: &Position) -> Problem {
        self.line = position.line;
        self.row = position.row;
        self.byte_offset = position.byte_offset;
        self.column.clone_from(&position.column);
        self
    }

    /// The answer to a job's load, which the job keeps too: in `jsonb`, which holds no NUL.
    fn of_job(mut self, job: Uuid) -> Problem {
        self.job_id = Some(job);
        let own = [Some(&mut self.detail), self.column.as_mut(), self.value.as_mut()];
        for text in own.into_iter().flatten().chain(&mut self.misfits) {
            if text.contains('\0') {
                *text = text.replace('\0', "\u{FFFD}");
            }
        }
        self
    }
}

impl Problem {
    /// Sends the client on to a job.
    fn of_job_at(self, job: Uuid) -> Problem {
        let problem = self.of_job(job);
        match HeaderValue::try_from(format!("/v1/jobs/{job}")) {
            Ok(url) => problem.with_header(header::LOCATION, url),
            Err(_) => problem,
        }
    }
}

/// The short name of the problem that an answer is, for those that it passes on its way out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Code(pub(super) &'static str);

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let content_type = (header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        let mut response = (self.status, [content_type], Json(&self)).into_response();
        response.headers_mut().extend(self.headers);
        response.extensions_mut().insert(Code(self.code));
        response
    }
}

/// The documents that jobs keep are those that clients get.
#[derive(Debug, Clone, Copy)]
pub struct Documents;

impl Describe for Documents {
    fn describe(&self, job: Uuid, error: &LoadError) -> (String, Value) {
        let problem = of_load(job, error);
        (problem.code.to_owned(), serde_json::to_value(&problem).unwrap_or_default())
    }
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Problem {
        match failure {
            Failure::Slot(SlotError::Saturated(shortage)) => {
                Problem::unavailable("saturated", format!("{shortage}; nothing was loaded, try again"))
            }
            Failure::Slot(SlotError::Database(error)) => from_database(&error),
            Failure::Table(error) => from_table(error),
            Failure::Forbidden { .. } => super::auth::insufficient_scope(failure.to_string()),
            Failure::OverLimit(exceeded) => super::auth::exceeded(exceeded),
            Failure::Metadata(error) => metadata(&error),
            Failure::Stopped(stop) => from_stop(stop),
            Failure::KeyReused { job, .. } => {
                let title = "The idempotency key was used for something else";
                let detail = format!("{failure}; nothing was loaded");
                Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency-key-reused", title, detail).of_job_at(job)
            }
            Failure::KeyInProgress { job } => {
                let title = "A load with this idempotency key is in progress";
                let detail = format!("{failure}; with the same key its result can be had when it has ended");
                let problem = Problem::new(StatusCode::CONFLICT, "idempotency-key-in-progress", title, detail)
                    .with_header(header::RETRY_AFTER, HeaderValue::from(retry_after()));
                match job {
                    Some(job) => problem.of_job_at(job),
                    None => problem,
                }
            }
            Failure::Load { job, error } => match &error {
                LoadError::OutcomePending => from_load(&error).of_job_at(job),
                _ => of_load(job, &error),
            },
        }
    }
}

/// The jobs' metadata cannot be read or written.
pub(super) fn metadata(error: &DatabaseError) -> Problem {
    tracing::error!(%error, "metadata database");
    let detail = format!("the jobs' metadata cannot be reached: {error}");
    Problem::unavailable("metadata-unavailable", detail)
}

fn from_table(error: TableError) -> Problem {
    let detail = error.to_string();
    match error {
        TableError::NotFound(_) => Problem::new(StatusCode::NOT_FOUND, "table-not-found", "No such table", detail),
        TableError::Ambiguous(_) => Problem::bad_request("ambiguous-table", detail),
        TableError::Forbidden(_) => Problem::new(StatusCode::FORBIDDEN, "table-forbidden", "No privilege", detail),
        TableError::Role { .. } => Problem::new(StatusCode::FORBIDDEN, "role-forbidden", "No such role for this service", detail),
        TableError::Unsupported(_) => refused("unsupported-table", detail),
        TableError::Misfit(misfits) => misfit(&misfits, detail),
        TableError::Setting(_) => Problem::bad_request("invalid-option", detail),
        TableError::Database(error) => from_database(&error),
    }
}

fn of_load(job: Uuid, error: &LoadError) -> Problem {
    let problem = from_load(error).of_job(job);
    match error {
        LoadError::TooManyRejects(_) => problem.with("rejects_url", rejects_url(job)),
        _ => problem,
    }
}

fn from_load(error: &LoadError) -> Problem {
    let detail = error.to_string();
    match error {
        LoadError::Body(error) => from_body(error),
        LoadError::Data(error) => from_data(error),
        LoadError::Spool(error) => from_spool(error),
        LoadError::RowCount { expected, found } => refused("row-count-mismatch", format!("{detail}; nothing was loaded"))
            .with("expected_rows", *expected)
            .with("rows_received", *found),
        LoadError::TooManyRejects(_) => refused("too-many-rejects", format!("{detail}; nothing was loaded")),
        LoadError::Database(error) => from_database(error),
        LoadError::Metadata(error) => metadata(error),
        LoadError::TableChanged => Problem::new(StatusCode::CONFLICT, "table-changed", "The table was changed", detail),
        LoadError::Stopped(stop) => from_stop(*stop),
        LoadError::PartialCommit(error) => {
            tracing::error!(%error, "a load may be in the table in part");
            let title = "The load may be in the table in part";
            let detail = format!("{detail}; those before the one that failed keep their rows of this load: look before you send it again");
            let problem = Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "partial-commit", title, detail);
            Problem { sqlstate: error.sqlstate.clone(), ..problem }
        }
        LoadError::OutcomePending => {
            Problem::unavailable("outcome-pending", format!("{detail}; the job's state will say whether the load is in the table"))
        }
        LoadError::Internal(_) => Problem::defect(detail),
    }
}

fn from_body(error: &BodyError) -> Problem {
    let detail = format!("{error}; nothing was loaded");
    match error {
        BodyError::Truncated(_) => Problem::bad_request("truncated-body", detail),
        BodyError::Stalled(_) => Problem::new(StatusCode::REQUEST_TIMEOUT, "client-stalled", "The client stalled", detail),
        BodyError::TooLarge { .. } => too_large("body-too-large", detail),
        BodyError::OverQuota { after, .. } => super::auth::quota_exceeded(detail, "bytes", Some(*after)),
        BodyError::Digest(mismatches) => fields::mismatching_digests(mismatches, detail),
    }
}

fn from_data(error: &DataError) -> Problem {
    let detail = error.to_string();
    match error {
        DataError::Row(row) => from_row(row),
        DataError::Malformed { code, position, sqlstate, .. } => {
            let mut problem = refused(code, detail).at(position);
            problem.sqlstate = sqlstate.map(str::to_owned);
            problem
        }
        DataError::Misfit(misfits) => misfit(misfits, detail),
        DataError::TooLarge { position, .. } => too_large("record-too-large", detail).at(position),
        DataError::OverLimit { code, .. } => too_large(code, detail),
        DataError::Conversion(error) => from_database(error),
        DataError::Empty => refused("empty-body", "the body is empty: there is nothing to load"),
        DataError::NoRows => refused("no-rows", "the body holds no rows: there is nothing to load"),
    }
}

fn from_spool(error: &SpoolError) -> Problem {
    let detail = format!("{error}; nothing was loaded");
    match error {
        SpoolError::TooLarge { .. } => too_large("body-too-large", detail),
        SpoolError::Full(_) => {
            let title = "The service's disk is full";
            Problem::new(StatusCode::INSUFFICIENT_STORAGE, "spool-full", title, detail)
        }
        SpoolError::Failed(_) => {
            tracing::error!(%error, "spool directory");
            let title = "The service's disk failed";
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "spool-failed", title, detail)
        }
    }
}

fn from_row(row: &RowError) -> Problem {
    let mut problem = refused("bad-row", row.reason.to_string()).at(&row.position);
    problem.sqlstate = Some(row.sqlstate.to_string());
    problem.value.clone_from(&row.value);
    problem.column_type.clone_from(&row.type_name);
    problem
}

fn from_stop(stop: Stop) -> Problem {
    let detail = format!("{stop}; nothing was loaded");
    match stop {
        Stop::Cancelled => Problem::new(StatusCode::CONFLICT, "cancelled", "The load was cancelled", detail),
        Stop::Disconnected => Problem::bad_request("client-disconnected", detail),
        Stop::Shutdown => Problem::unavailable("shutdown", detail),
        Stop::Interrupted => Problem::unavailable("interrupted", detail),
        Stop::Timeout => Problem::new(StatusCode::GATEWAY_TIMEOUT, "load-timeout", "The load took too long", detail),
    }
}

fn refused(code: &'static str, detail: impl Into<String>) -> Problem {
    let title = "The data was refused";
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, code, title, detail)
}

fn too_large(code: &'static str, detail: String) -> Problem {
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, code, "Over a limit", detail)
}

fn misfit(misfits: &[String], detail: String) -> Problem {
    let mut problem = refused("columns-mismatch", detail);
    problem.misfits = misfits.to_vec();
    problem
}

/// What a SQLSTATE means to a client. Appendix A of PostgreSQL's manual.
fn from_database(error: &DatabaseError) -> Problem {
    let code = error.sqlstate.as_deref().unwrap_or("");
    let detail = error.full_message();
    let class = code.get(..2).unwrap_or("");
    // An extension's input function may use any code (PostGIS: XX000), and so may one that looks things up (regclass: 42P01). While it
    // read a value, the value is what is wrong.
    let position = &error.position;
    let reads_value = position.column.is_some() && (position.line.is_some() || position.row.is_some());
    // The service keeps no body, so it cannot try again by itself.
    const SEND_AGAIN: &str = "nothing was loaded, and the service has not kept the body: send it again";
    let mut problem = match (class, code) {
        ("42" | "3F" | "XX", _) if reads_value => refused("bad-row", detail),
        (_, "42501") => Problem::new(StatusCode::FORBIDDEN, "table-forbidden", "No privilege", detail),
        (_, "42P01" | "3F000") => Problem::new(StatusCode::NOT_FOUND, "table-not-found", "No such table", detail),
        (_, "53100") => {
            let title = "The database's disk is full";
            Problem::new(StatusCode::INSUFFICIENT_STORAGE, "disk-full", title, detail)
        }
        (_, "55P03" | "57014" | "25P04") => {
            let title = "The database did not do it in time";
            Problem::new(StatusCode::GATEWAY_TIMEOUT, "database-timeout", title, detail)
        }
        ("22" | "23" | "42" | "44" | "P0" | "0A" | "55" | "54", _) => refused("bad-row", detail),
        ("" | "08" | "28" | "3D" | "40" | "53" | "57" | "25", _) => {
            tracing::warn!(%error, sqlstate = code, "target database");
            Problem::unavailable("database-unavailable", format!("PostgreSQL: {detail}; {SEND_AGAIN}"))
        }
        _ if reads_value => refused("bad-row", detail),
        _ => {
            tracing::error!(%error, sqlstate = code, "target database");
            let title = "PostgreSQL failed";
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "database-error", title, detail)
        }
    };
    problem = problem.at(&error.position);
    problem.sqlstate.clone_from(&error.sqlstate);
    problem.value.clone_from(&error.value);
    problem
}

pub(super) async fn no_such_path(uri: Uri) -> Problem {
    let detail = format!("there is nothing at {}; /openapi.yaml says what there is", uri.path());
    Problem::new(StatusCode::NOT_FOUND, "not-found", "Nothing here", detail)
}

pub(super) async fn method_not_allowed(method: axum::http::Method, uri: Uri) -> Problem {
    let hint = if uri.path().ends_with("/loads") { "; a load is a POST: curl -X POST -T file" } else { "" };
    let detail = format!("{method} is not what {} takes{hint}", uri.path());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "Wrong method", detail)
}
