//! A request's body that outlives its answer.
//!
//! When a load is refused early, the client may still be sending. Closing the connection then would reset it, and the reset can destroy
//! the answer on its way. So whatever is left of the body when this is dropped is read and thrown away for a bounded time (nginx calls
//! it lingering close), while the answer goes out.
//!
//! Over HTTP/2 there is no need: the stream alone is reset, after the answer and with NO_ERROR (RFC 9113, section 8.1), and until then the
//! client sends no more than the stream's window.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::http::{HeaderMap, Version, header};
use bytes::Bytes;
use futures::{Stream, StreamExt};

use crate::access::limits::{Allowance, Exceeded};
use crate::config;
use crate::error::BodyError;

/// A client that waits to be asked (`Expect: 100-continue`) does not wait for ever: curl sends after a second. What it sends then has to
/// be read too; but reading before the answer's head is out would ask for it.
const HEAD_TIME: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) struct Upload {
    body: Option<BodyDataStream>,
    /// what its bytes are counted against
    allowance: Option<Arc<Allowance>>,
    /// the client sends nothing until it is asked to, and asking is what the first poll does
    waits_to_be_asked: bool,
    linger: Option<Linger>,
}

/// How long to go on reading: in all, and when nothing comes.
#[derive(Debug, Clone, Copy)]
struct Linger {
    total: Duration,
    idle: Duration,
}

impl Upload {
    pub(super) fn new(body: Body, version: Version, headers: &HeaderMap, settings: &config::Http) -> Upload {
        let linger = Linger { total: settings.linger_total, idle: settings.linger_idle };
        Upload {
            body: Some(body.into_data_stream()),
            allowance: None,
            waits_to_be_asked: headers
                .get(header::EXPECT)
                .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue")),
            linger: (version < Version::HTTP_2).then_some(linger),
        }
    }

    /// Counts its bytes as they are read, and ends the body when they are too many.
    pub(super) fn counted_against(mut self, allowance: Option<Arc<Allowance>>) -> Upload {
        self.allowance = allowance;
        self
    }

    /// Reads what still comes for as long as a load of it might have taken. Many clients read no answer before they have sent everything,
    /// and one that is good news must not be lost on them.
    pub(super) fn linger_to_its_end(&mut self, limits: &config::Limits) {
        self.linger = Some(Linger { total: limits.load_timeout, idle: limits.client_stall });
    }
}

impl Stream for Upload {
    type Item = Result<Bytes, BodyError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.waits_to_be_asked = false;
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let frame = match body.poll_next_unpin(context) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(frame) => frame,
        };
        if !matches!(frame, Some(Ok(_))) {
            self.body = None;
        }
        let frame = frame.map(|frame| frame.map_err(|error| BodyError::Truncated(error.to_string())));
        if let (Some(Ok(bytes)), Some(allowance)) = (&frame, &self.allowance)
            && let Err(exceeded) = allowance.bytes(bytes.len())
        {
            return Poll::Ready(Some(Err(over_quota(exceeded))));
        }
        Poll::Ready(frame)
    }
}

fn over_quota(exceeded: Exceeded) -> BodyError {
    BodyError::OverQuota { reason: exceeded.to_string(), after: exceeded.after().unwrap_or_default() }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let (Some(body), Some(linger)) = (self.body.take(), self.linger) else {
            return;
        };
        let asks = self.waits_to_be_asked;
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if asks {
                    tokio::time::sleep(HEAD_TIME).await;
                }
                linger.read(body).await;
            });
        }
    }
}

impl Linger {
    async fn read(self, mut body: BodyDataStream) {
        let read = async { while let Ok(Some(Ok(_))) = tokio::time::timeout(self.idle, body.next()).await {} };
        let _ = tokio::time::timeout(self.total, read).await;
    }
}
