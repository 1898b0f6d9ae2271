//! A body that is sent piece by piece, when the test says so.

use futures::channel::mpsc::{UnboundedSender, unbounded};
use reqwest::RequestBuilder;
use tokio::task::JoinHandle;

use super::{Answer, World};

/// A load in progress.
pub(crate) struct Trickle {
    pieces: UnboundedSender<Result<Vec<u8>, std::io::Error>>,
    answer: JoinHandle<Result<Answer, reqwest::Error>>,
}

impl Trickle {
    /// Begins a CSV load of unknown length.
    pub(crate) fn begin(world: &World, table_and_options: &str) -> Trickle {
        Trickle::begin_as(world, table_and_options, "text/csv")
    }

    /// Begins a load of unknown length.
    pub(crate) fn begin_as(world: &World, table_and_options: &str, content_type: &str) -> Trickle {
        Trickle::begin_with(world.post(table_and_options, content_type))
    }

    /// Begins this request, with a body of unknown length.
    pub(crate) fn begin_with(request: RequestBuilder) -> Trickle {
        let (pieces, body) = unbounded();
        let request = request.body(reqwest::Body::wrap_stream(body));
        let answer = tokio::spawn(async move { Ok(Answer::of(request.send().await?).await) });
        Trickle { pieces, answer }
    }

    pub(crate) fn send(&self, piece: impl Into<Vec<u8>>) {
        self.pieces.unbounded_send(Ok(piece.into())).unwrap();
    }

    pub(crate) fn is_answered(&self) -> bool {
        self.answer.is_finished()
    }

    /// Ends the body and waits for the answer.
    pub(crate) async fn finish(self) -> Answer {
        drop(self.pieces);
        self.answer.await.unwrap().unwrap()
    }

    /// Waits for an answer without ending the body.
    pub(crate) async fn answer(self) -> Answer {
        self.answer.await.unwrap().unwrap()
    }

    /// The client goes away in the middle.
    pub(crate) async fn abandon(self) {
        self.answer.abort();
        let _ = self.answer.await;
    }
}
