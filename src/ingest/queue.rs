//! A channel bounded in bytes, between a stage that waits on a runtime and one that runs on a thread of its own.
//!
//! It ends in one of two ways: properly, with [`Item::End`], or by a sender that just goes away, which means that the stage before
//! has failed and nothing may be committed.

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// What an item costs beside its bytes, so that a flood of tiny ones is bounded too.
const ITEM_OVERHEAD_BYTES: usize = 256;

/// What comes out of a queue.
#[derive(Debug)]
pub(super) enum Item<T> {
    /// a value, in order
    Value(T),
    /// the stage before ended properly
    End,
}

/// The receiver is gone: its stage has failed or the load was stopped, and says so itself.
#[derive(Debug)]
pub(super) struct Closed;

#[derive(Debug)]
pub(super) struct Sender<T> {
    items: mpsc::UnboundedSender<(Item<T>, OwnedSemaphorePermit)>,
    budget: Arc<Semaphore>,
    budget_bytes: usize,
}

#[derive(Debug)]
pub(super) struct Receiver<T> {
    items: mpsc::UnboundedReceiver<(Item<T>, OwnedSemaphorePermit)>,
    budget: Arc<Semaphore>,
}

/// A queue that holds at most `budget_bytes`, or one item if that is larger.
pub(super) fn queue<T>(budget_bytes: usize) -> (Sender<T>, Receiver<T>) {
    let (items_in, items_out) = mpsc::unbounded_channel();
    let budget = Arc::new(Semaphore::new(budget_bytes));
    let sender = Sender { items: items_in, budget: Arc::clone(&budget), budget_bytes };
    let receiver = Receiver { items: items_out, budget };
    (sender, receiver)
}

/// The far end of a queue that holds all of this and its proper end.
#[cfg(any(test, fuzzing))]
pub(super) fn filled<T>(values: impl IntoIterator<Item = T>) -> Receiver<T> {
    let (sender, receiver) = queue(0);
    for item in values.into_iter().map(Item::Value).chain([Item::End]) {
        // Nothing waits here, so nothing is counted.
        let free = Arc::clone(&sender.budget).try_acquire_many_owned(0);
        free.ok()
            .and_then(|permit| sender.items.send((item, permit)).ok())
            .unwrap_or_else(|| panic!("a new queue is closed"));
    }
    receiver
}

impl<T> Sender<T> {
    /// Here a stage waits for the next one.
    pub(super) async fn send(&self, item: Item<T>, bytes: usize) -> Result<(), Closed> {
        let price = (bytes + ITEM_OVERHEAD_BYTES).min(self.budget_bytes) as u32;
        let permit = Arc::clone(&self.budget).acquire_many_owned(price).await;
        let permit = permit.map_err(|_| Closed)?;
        self.items.send((item, permit)).map_err(|_| Closed)
    }

    /// The receiver is gone.
    pub(super) fn is_closed(&self) -> bool {
        self.items.is_closed()
    }

    /// [`send`](Self::send) from a thread that may block.
    pub(super) fn blocking_send(&self, runtime: &Handle, item: Item<T>, bytes: usize) -> Result<(), Closed> {
        runtime.block_on(self.send(item, bytes))
    }
}

impl<T> Receiver<T> {
    /// The next item; an error when the sender went away without an [`Item::End`].
    pub(super) async fn recv(&mut self) -> Result<Item<T>, Closed> {
        let (item, _permit) = self.items.recv().await.ok_or(Closed)?;
        Ok(item)
    }

    /// [`recv`](Self::recv) from a thread that may block.
    pub(super) fn blocking_recv(&mut self) -> Result<Item<T>, Closed> {
        let (item, _permit) = self.items.blocking_recv().ok_or(Closed)?;
        Ok(item)
    }
}

impl<T> Drop for Receiver<T> {
    /// Wakes a sender that waits for room which will never come.
    fn drop(&mut self) {
        self.budget.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn a_full_queue_holds_its_sender() {
        let (sender, mut receiver) = queue::<u8>(1024);
        sender.send(Item::Value(1), 900).await.unwrap();
        let second = sender.send(Item::Value(2), 900);
        tokio::pin!(second);
        let waited = tokio::time::timeout(Duration::from_millis(20), &mut second).await;
        assert!(waited.is_err(), "the second item found room that is not there");
        assert!(matches!(receiver.recv().await, Ok(Item::Value(1))));
        second.await.unwrap();
    }

    #[tokio::test]
    async fn an_item_larger_than_the_queue_goes_alone() {
        let (sender, mut receiver) = queue::<u8>(16);
        sender.send(Item::Value(1), 1 << 20).await.unwrap();
        assert!(matches!(receiver.recv().await, Ok(Item::Value(1))));
    }

    #[tokio::test]
    async fn a_lost_receiver_wakes_the_sender_and_a_lost_sender_is_no_end() {
        let (sender, receiver) = queue::<u8>(16);
        sender.send(Item::Value(1), 16).await.unwrap();
        let waiting = tokio::spawn(async move { sender.send(Item::Value(2), 16).await.is_err() });
        tokio::task::yield_now().await;
        drop(receiver);
        assert!(waiting.await.unwrap());

        let (sender, mut receiver) = queue::<u8>(16);
        drop(sender);
        assert!(receiver.recv().await.is_err());
    }
}
