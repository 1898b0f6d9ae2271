//! Stage *body*: takes frames from the client, counts them, holds them against the declared digests, and notices when the client is
//! silent, gone or too talkative.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{Stream, StreamExt};

use super::digest::Check;
use super::meter::Meter;
use super::queue::{Item, Sender};
use crate::error::{BodyError, LoadError};

/// A body as the edge hands it over: frames of bytes, or the reason why there are no more.
pub trait Frames: Stream<Item = Result<Bytes, BodyError>> + Send + Unpin {}

impl<S: Stream<Item = Result<Bytes, BodyError>> + Send + Unpin> Frames for S {}

/// What a body may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) bytes_max: u64,
    pub(super) stall: Duration,
}

/// Moves the body into the queue. When the queue is full, the body is not polled: that is the whole of the backpressure.
///
/// Only time spent waiting *for the client* counts as a stall; time spent waiting for PostgreSQL does not.
///
/// The proper end is passed on only if the body is the one that was declared, so that another cannot be committed.
pub(super) async fn receive(
    mut frames: impl Frames,
    queue: Sender<Bytes>,
    bounds: Bounds,
    mut check: Check,
    meter: &Meter,
) -> Result<(), LoadError> {
    let mut received = 0u64;
    loop {
        let waiting_since = Instant::now();
        let frame = tokio::time::timeout(bounds.stall, frames.next()).await;
        meter.client_wait.add_since(waiting_since);
        let item = match frame.map_err(|_| BodyError::Stalled(bounds.stall))? {
            Some(frame) => Item::Value(frame?),
            None => Item::End,
        };
        let bytes = match &item {
            Item::Value(frame) => {
                check.update(frame);
                frame.len()
            }
            Item::End => 0,
        };
        received += bytes as u64;
        meter.bytes_received.add(bytes as u64);
        if received > bounds.bytes_max {
            let limit = bounds.bytes_max;
            return Err(BodyError::TooLarge { limit }.into());
        }
        let ended = matches!(item, Item::End);
        if ended {
            let mismatches = check.mismatches();
            if !mismatches.is_empty() {
                return Err(BodyError::Digest(mismatches).into());
            }
        }
        // A closed queue is the failure of a later stage, which reports it itself.
        if queue.send(item, bytes).await.is_err() || ended {
            return Ok(());
        }
    }
}
