//! `GET /v1/jobs/{id}/events`, `GET /v1/events`: server-sent events (HTML, section 9.2). Each is a job as it is when it has changed; whoever
//! misses one loses nothing, for the next one says all.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::{Stream, stream};
use tokio::sync::OwnedSemaphorePermit;

use super::Edge;
use super::jobs::find;
use super::metrics::Streaming;
use super::options::{Query, single};
use super::problem::{Problem, metadata};
use crate::access::Caller;
use crate::jobs::{Changes, Follow, Followed, Job};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// nginx keeps an answer back until there is much of it, unless it is told not to.
const NO_BUFFERING: (HeaderName, HeaderValue) = (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));

/// The id of a job's last event. Whoever comes back with it has seen all of it.
const END: &str = "end";
/// After what time a client whose stream has ended comes back.
const RETRY: Duration = Duration::from_secs(2);
/// So often something goes over a silent connection, which nobody on the way then takes for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

pub(super) async fn of_job(
    State(edge): State<Arc<Edge>>,
    Extension(caller): Extension<Caller>,
    path: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    Query::parse(query.as_deref())?.finish("none")?;
    let job = find(&edge, &caller, path).await?;
    // It is how a stream tells a browser not to come back.
    if job.state.is_final() && single(&headers, &LAST_EVENT_ID)? == Some(END) {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let follow = Follow { sight: caller.principal.sight(), job: Some(job.id), since: None };
    Ok(events(edge, caller, follow).await?.into_response())
}

pub(super) async fn of_all(
    State(edge): State<Arc<Edge>>,
    Extension(caller): Extension<Caller>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    Query::parse(query.as_deref())?.finish("none")?;
    let since = single(&headers, &LAST_EVENT_ID)?.filter(|id| !id.is_empty()).map(|id| {
        let micros = id.parse().ok().filter(|micros| (0..=MICROS_MAX).contains(micros));
        micros.ok_or_else(|| Problem::bad_request("unreadable-header", "Last-Event-ID is not the id of an event of this stream"))
    });
    let follow = Follow { sight: caller.principal.sight(), job: None, since: since.transpose()? };
    Ok(events(edge, caller, follow).await?.into_response())
}

/// The year 9999: PostgreSQL's clock goes further, and no job has ended then.
const MICROS_MAX: i64 = 253_402_300_799_000_000;

async fn events(edge: Arc<Edge>, caller: Caller, follow: Follow) -> Result<impl IntoResponse, Problem> {
    let Ok(permit) = Arc::clone(&edge.event_streams).try_acquire_owned() else {
        let detail = format!("{} streams of events are open, which is as many as there may be", edge.settings.event_streams_max);
        return Err(Problem::unavailable("saturated", detail));
    };
    let all = follow.job.is_none();
    let mut followed = edge.conductor.follow(follow);
    // Before the answer: what happens once somebody has that must not be taken for what happened before.
    let first = followed.changes().await.map_err(|error| metadata(&error))?;
    let told = Told {
        first: Some(first),
        followed,
        caller,
        all,
        ended: false,
        _streaming: edge.metrics.streaming(),
        _permit: permit,
        edge,
    };
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE);
    Ok(([NO_BUFFERING], Sse::new(told.stream()).keep_alive(keep_alive)))
}

/// A stream of events on its way.
struct Told {
    edge: Arc<Edge>,
    caller: Caller,
    first: Option<Changes>,
    followed: Followed,
    /// all jobs, not one
    all: bool,
    ended: bool,
    _streaming: Streaming,
    _permit: OwnedSemaphorePermit,
}

impl Told {
    fn stream(self) -> impl Stream<Item = Result<Event, axum::Error>> {
        let first = stream::once(async { Ok(Event::default().retry(RETRY)) });
        let batches = stream::unfold(self, |mut told| async move {
            let batch = told.next().await?;
            Some((stream::iter(batch), told))
        });
        futures::StreamExt::chain(first, futures::StreamExt::flatten(batches))
    }

    /// The next events; `None` when there will be none any more.
    async fn next(&mut self) -> Option<Vec<Result<Event, axum::Error>>> {
        if let Some(changes) = self.first.take() {
            return Some(self.tell(changes));
        }
        if self.ended {
            return None;
        }
        tokio::select! {
            () = self.followed.may_have_changed() => {}
            // How those loads ended that were waited for, and no more.
            () = self.edge.closing.cancelled() => self.ended = true,
        }
        // A revoked key sees nothing more, however long ago its stream was opened.
        if let Some(gate) = &self.edge.gate
            && gate.still_lets_in(&self.caller.principal).await.is_err()
        {
            return None;
        }
        // What fails may succeed the next time. A browser that is told of an error does not come back; this one waits.
        let changes = self.followed.changes().await;
        Some(changes.map_or(Vec::new(), |changes| self.tell(changes)))
    }

    fn tell(&mut self, Changes { as_of, jobs }: Changes) -> Vec<Result<Event, axum::Error>> {
        let events = jobs.iter().map(|job| self.event(as_of, job)).collect();
        self.ended |= jobs.iter().any(|job| self.is_last(job));
        events
    }

    fn is_last(&self, job: &Job) -> bool {
        !self.all && job.state.is_final()
    }

    fn event(&self, as_of: i64, job: &Job) -> Result<Event, axum::Error> {
        let id = if self.is_last(job) { END.to_owned() } else { as_of.to_string() };
        Event::default().id(id).event("job").json_data(job)
    }
}
