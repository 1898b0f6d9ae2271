//! Whether the client is still there, although nobody reads what it sends.
//!
//! hyper notices that a client has gone when it reads. A load that waits for its turn does not read, and must not keep its place in the
//! queue for nobody. So the socket is shared with whoever wants to know, and only for that.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::FutureExt;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use crate::jobs::Client;

/// How often to look.
const LOOK_PAUSE: Duration = Duration::from_millis(200);

/// A connection as hyper uses it.
#[derive(Debug)]
pub(super) struct Line {
    read: OwnedReadHalf,
    write: Arc<OwnedWriteHalf>,
}

/// The client at the other end of a connection, for as long as that is open.
#[derive(Debug, Clone)]
pub(super) struct Peer(Weak<OwnedWriteHalf>);

impl Line {
    pub(super) fn new(stream: TcpStream) -> Line {
        let (read, write) = stream.into_split();
        Line { read, write: Arc::new(write) }
    }

    pub(super) fn peer(&self) -> Peer {
        Peer(Arc::downgrade(&self.write))
    }

    /// Waits until the socket takes bytes, and gives it some.
    fn poll_send(&self, context: &mut Context<'_>, send: impl Fn(&TcpStream) -> io::Result<usize>) -> Poll<io::Result<usize>> {
        let stream: &TcpStream = (*self.write).as_ref();
        loop {
            ready!(stream.poll_write_ready(context))?;
            match send(stream) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                sent => return Poll::Ready(sent),
            }
        }
    }
}

impl Client for Peer {
    async fn gone(&self) {
        while let Some(write) = self.0.upgrade() {
            let stream: &TcpStream = (*write).as_ref();
            let state = stream.ready(Interest::READABLE).now_or_never();
            let is_closed = state.is_some_and(|state| state.map_or(true, |state| state.is_read_closed()));
            drop(write);
            if is_closed {
                return;
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }
}

impl AsyncRead for Line {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.read).poll_read(context, buffer)
    }
}

impl AsyncWrite for Line {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_send(context, |stream| stream.try_write(bytes))
    }

    fn poll_write_vectored(self: Pin<&mut Self>, context: &mut Context<'_>, pieces: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.poll_send(context, |stream| stream.try_write_vectored(pieces))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stream: &TcpStream = (*self.write).as_ref();
        Poll::Ready(rustix::net::shutdown(stream, rustix::net::Shutdown::Write).map_err(io::Error::from))
    }
}
