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

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::{BodyExt, Empty};
    use hyper::{Request, Response, service::service_fn};
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use std::convert::Infallible;
    use tokio::sync::mpsc;

    /// What a service makes of a body that its client ends in this way.
    async fn received(end: impl FnOnce(&mut h2::SendStream<Bytes>)) -> Result<Bytes, Broken> {
        let (near, far) = tokio::io::duplex(1 << 16);
        let (outcomes, mut outcome) = mpsc::unbounded_channel();
        let service = service_fn(move |request: Request<Incoming>| {
            let outcomes = outcomes.clone();
            // Read on a task of its own, as loads are: it outlives the request.
            tokio::spawn(async move {
                let body = Whole(request.into_body()).collect().await;
                let _ = outcomes.send(body.map(http_body_util::Collected::to_bytes));
            });
            std::future::pending::<Result<Response<Empty<Bytes>>, Infallible>>()
        });
        let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(far), service);
        tokio::spawn(server);
        let (mut requests, connection) = h2::client::handshake(near).await.unwrap();
        tokio::spawn(connection);
        let request = Request::post("http://localhost/").body(()).unwrap();
        let (_answer, mut body) = requests.send_request(request, false).unwrap();
        body.send_data(Bytes::from_static(b"some"), false).unwrap();
        end(&mut body);
        outcome.recv().await.unwrap()
    }

    #[tokio::test]
    async fn only_its_own_end_ends_a_body() {
        let whole = received(|body| body.send_data(Bytes::from_static(b" more"), true).unwrap()).await;
        assert_eq!(whole.unwrap(), "some more");
        let trailed = received(|body| body.send_trailers(hyper::HeaderMap::new()).unwrap()).await;
        assert_eq!(trailed.unwrap(), "some");
        for reason in [h2::Reason::NO_ERROR, h2::Reason::CANCEL] {
            let broken = received(|body| body.send_reset(reason)).await;
            assert!(broken.is_err(), "{reason}: {broken:?}");
        }
    }
}
