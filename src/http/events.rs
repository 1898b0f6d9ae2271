//! `GET /v1/jobs/{id}/events`, `GET /v1/events`: server-sent events (HTML, section 9.2). Each is a job as it is when it has changed; whoever
//! misses one loses nothing, for the next one says all.
//!
//! A task follows the jobs and hands over what has changed. It goes when the client does, and also when that has stopped reading: so neither
//! holds a place for ever, and a key that is revoked loses its streams even if nobody reads them.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::{Stream, StreamExt, stream};
use tokio::sync::mpsc;
use tracing::Instrument;
use uuid::Uuid;

use super::Edge;
use super::jobs::{find, no_such_job};
use super::options::{Query, single};
use super::problem::{Problem, metadata};
use super::streams::Place;
use crate::access::{AccessError, Caller};
use crate::jobs::{Change, Changes, Follow, Followed};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// nginx keeps an answer back until there is much of it, unless it is told not to.
const NO_BUFFERING: (HeaderName, HeaderValue) = (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));

/// The id of a job's last event. Whoever comes back with it has seen all of it.
const END: &str = "end";
/// The year 9999: PostgreSQL's clock goes further, and no job has ended then.
const MICROS_MAX: i64 = 253_402_300_799_000_000;
/// After what time a client whose stream has ended comes back.
const RETRY: Duration = Duration::from_secs(2);
/// So often something goes over a silent connection, which nobody on the way then takes for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Events that wait for a client, and how long the next one waits for room among them.
const WAITING_EVENTS: usize = 64;
const UNREAD_TIME: Duration = Duration::from_secs(30);

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
    open(edge, caller, Some(job.id), None).await
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
    open(edge, caller, None, since.transpose()?).await
}

async fn open(edge: Arc<Edge>, caller: Caller, job: Option<Uuid>, since: Option<i64>) -> Result<Response, Problem> {
    let place = edge.streams.enter(&caller.principal.id)?;
    let mut followed = edge.conductor.follow(Follow { sight: caller.principal.sight(), job, since });
    // Before the answer: what happens once somebody has that must not be taken for what happened before.
    let first = followed.changes().await.map_err(|error| metadata(&error))?;
    if let Some(id) = job.filter(|_| first.is_gone) {
        return Err(no_such_job(&id.to_string()));
    }
    // A browser remembers an id without an event, too: whoever is cut off before the first one misses none.
    let hello = Event::default().retry(RETRY).id(first.as_of.to_string());
    let (events, waiting) = mpsc::channel(WAITING_EVENTS);
    let teller = Teller { edge, caller, followed, of_one: job.is_some(), events, _place: place };
    tokio::spawn(teller.run(first).in_current_span());
    let told = stream::unfold(waiting, async |mut waiting| Some((waiting.recv().await?, waiting)));
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE);
    let events: Sse<_> = Sse::new(begin_with(hello, told)).keep_alive(keep_alive);
    Ok(([NO_BUFFERING], events).into_response())
}

fn begin_with(hello: Event, told: impl Stream<Item = Event>) -> impl Stream<Item = Result<Event, axum::Error>> {
    stream::once(std::future::ready(hello)).chain(told).map(Ok)
}

/// Follows jobs for one client.
struct Teller {
    edge: Arc<Edge>,
    caller: Caller,
    followed: Followed,
    of_one: bool,
    events: mpsc::Sender<Event>,
    _place: Place,
}

/// Nothing more is to be told.
struct Over;

impl Teller {
    async fn run(mut self, first: Changes) {
        let mut told = self.tell(first).await;
        while told.is_ok() {
            told = self.next().await;
        }
    }

    async fn next(&mut self) -> Result<(), Over> {
        let closing = tokio::select! {
            () = self.followed.may_have_changed() => false,
            // How those loads ended that were waited for, and no more.
            () = self.edge.closing.cancelled() => true,
            () = self.events.closed() => return Err(Over),
        };
        // A revoked key sees nothing more, however long ago its stream was opened. What cannot be found out now, can be later: a browser
        // that is told of an error does not come back, so it waits.
        if let Some(gate) = &self.edge.gate {
            match gate.still_lets_in(&self.caller).await {
                Ok(()) => {}
                Err(AccessError::Denied(_)) => return Err(Over),
                Err(AccessError::Metadata(_)) if closing => return Err(Over),
                Err(AccessError::Metadata(_)) => return self.pause().await,
            }
        }
        match self.followed.changes().await {
            Ok(changes) => self.tell(changes).await?,
            Err(_) => self.pause().await?,
        }
        if closing { Err(Over) } else { Ok(()) }
    }

    async fn pause(&self) -> Result<(), Over> {
        tokio::select! {
            () = tokio::time::sleep(RETRY) => Ok(()),
            () = self.events.closed() => Err(Over),
        }
    }

    async fn tell(&mut self, Changes { changes, is_gone, .. }: Changes) -> Result<(), Over> {
        for Change { job, seen } in changes {
            let is_last = self.of_one && job.state.is_final();
            let id = if is_last { END.to_owned() } else { seen.to_string() };
            let event = Event::default().id(id).event("job").json_data(&job).map_err(|_| Over)?;
            self.events.send_timeout(event, UNREAD_TIME).await.map_err(|_| Over)?;
            if is_last {
                return Err(Over);
            }
        }
        if is_gone { Err(Over) } else { Ok(()) }
    }
}
