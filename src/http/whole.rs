//! A body over HTTP/2, which is whole or an error.
//!
//! When a client resets its stream with NO_ERROR, hyper ends the body as if that were all of it. To a load it must not be: only the
//! stream's own end (END_STREAM) says that.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};

/// Why a body ended before its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error(transparent)]
    Failed(#[from] hyper::Error),
    #[error("the stream was reset before its end")]
    Reset,
}

#[derive(Debug)]
pub(super) struct Whole(pub(super) Incoming);

impl Body for Whole {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        Poll::Ready(match ready!(Pin::new(&mut self.0).poll_frame(context)) {
            Some(frame) => Some(frame.map_err(Broken::from)),
            None if self.0.is_end_stream() => None,
            None => Some(Err(Broken::Reset)),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}
