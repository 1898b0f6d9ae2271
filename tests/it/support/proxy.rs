//! A link to PostgreSQL that can be broken: a TCP port on loopback, and behind it the server's unix socket. Bytes pass as they are, for
//! the proxy knows nothing of the protocol, until it is told what becomes of them instead.
//!
//! It needs tokio and memchr and nothing else, so that other programs can include this file.

#![allow(dead_code, reason = "more than one program includes it, and none uses all of it")]

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

const PIECE_BYTES: usize = 64 << 10;

/// What becomes of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Link {
    /// They pass.
    Whole,
    /// They pass late: each piece by so much.
    Slow(Duration),
    /// None passes, and nobody is told: a black hole. Should the link get better, they come late, as TCP would see to it.
    Silent,
    /// Those to the server pass, its answers do not.
    Deaf,
    /// Those to the server pass, and at its next answer, which does not pass, the connection is closed.
    CutAtAnswer,
    /// The connection is closed. One that is still to come is closed when it comes.
    Cut,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    ToServer,
    ToClient,
}

impl Link {
    fn holds(self, direction: Direction) -> bool {
        self == Link::Silent || self == Link::Deaf && direction == Direction::ToClient
    }
}

/// Becomes true at a moment that the bytes tell.
#[derive(Debug, Clone)]
struct Trigger {
    text: Vec<u8>,
    then: Link,
    /// who waits for it; then it is good for one connection only
    told: Option<mpsc::UnboundedSender<Caught>>,
}

/// A connection that has sent what somebody waited for.
#[derive(Debug)]
pub(crate) struct Caught(watch::Sender<Link>);

impl Caught {
    /// What becomes of this connection now.
    pub(crate) fn set(&self, link: Link) {
        self.0.send_if_modified(|now| *now != Link::Cut && std::mem::replace(now, link) != link);
    }
}

/// The state of all connections.
#[derive(Debug)]
struct Links {
    fresh: Link,
    trigger: Option<Trigger>,
    open: Vec<watch::Sender<Link>>,
}

/// A running proxy; dropped, it closes every connection.
#[derive(Debug)]
pub(crate) struct Proxy {
    address: SocketAddr,
    links: Arc<Mutex<Links>>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// Begins to listen, before the server on this socket (`…/.s.PGSQL.5432`).
    pub(crate) async fn start(socket: impl Into<PathBuf>) -> io::Result<Proxy> {
        let socket = socket.into();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let links = Arc::new(Mutex::new(Links { fresh: Link::Whole, trigger: None, open: Vec::new() }));
        Ok(Proxy {
            address: listener.local_addr()?,
            links: Arc::clone(&links),
            accepting: tokio::spawn(accept(listener, socket, links)),
        })
    }

    /// A proxy before the server of `postgresql://user@%2Fsocket%2Fdirectory:port/database`.
    pub(crate) async fn before(database_url: &str) -> io::Result<Proxy> {
        Proxy::start(socket_of(database_url).ok_or(io::ErrorKind::InvalidInput)?).await
    }

    /// That URL with the way through this proxy.
    pub(crate) fn url(&self, database_url: &str) -> String {
        let (user, rest) = database_url.split_once('@').unwrap_or(("postgresql://postgres", database_url));
        let (_, database) = rest.split_once('/').unwrap_or((rest, "postgres"));
        format!("{user}@{}/{database}", self.address)
    }

    /// What becomes of all connections, those to come included.
    pub(crate) fn set(&self, link: Link) {
        self.set_fresh(link);
        self.set_open(link);
    }

    /// What becomes of the connections that are there now.
    pub(crate) fn set_open(&self, link: Link) {
        for connection in &lock(&self.links).open {
            // One that is cut stays so, even if it has not noticed yet.
            connection.send_if_modified(|now| *now != Link::Cut && std::mem::replace(now, link) != link);
        }
    }

    /// What becomes of the connections that are still to come.
    pub(crate) fn set_fresh(&self, link: Link) {
        lock(&self.links).fresh = link;
    }

    /// A connection on which the client sends this text becomes such a link, from just before that text on.
    pub(crate) fn set_when_sent(&self, text: &str, then: Link) {
        lock(&self.links).trigger = Some(Trigger { text: text.into(), then, told: None });
    }

    /// The first connection on which the client sends this text becomes such a link, and is handed out just then.
    pub(crate) fn catch_when_sent(&self, text: &str, then: Link) -> mpsc::UnboundedReceiver<Caught> {
        let (told, caught) = mpsc::unbounded_channel();
        lock(&self.links).trigger = Some(Trigger { text: text.into(), then, told: Some(told) });
        caught
    }

    /// No text has a consequence any more.
    pub(crate) fn forget(&self) {
        lock(&self.links).trigger = None;
    }

    /// Every connection passes everything again, and no text has a consequence any more. One that was closed stays closed.
    pub(crate) fn heal(&self) {
        self.forget();
        self.set(Link::Whole);
    }

    /// How many connections there are.
    pub(crate) fn open(&self) -> usize {
        lock(&self.links).open.iter().filter(|connection| !connection.is_closed()).count()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.set_open(Link::Cut);
    }
}

fn lock(links: &Mutex<Links>) -> std::sync::MutexGuard<'_, Links> {
    links.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where the server of this URL listens.
fn socket_of(database_url: &str) -> Option<PathBuf> {
    let (_, rest) = database_url.split_once('@')?;
    let (host, _) = rest.split_once('/')?;
    let (directory, port) = host.split_once(':').unwrap_or((host, "5432"));
    let mut path = Vec::new();
    let mut bytes = directory.bytes();
    while let Some(byte) = bytes.next() {
        path.push(match byte {
            b'%' => {
                let digits = [bytes.next()?, bytes.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            other => other,
        });
    }
    Some(PathBuf::from(String::from_utf8(path).ok()?).join(format!(".s.PGSQL.{port}")))
}

async fn accept(listener: TcpListener, socket: PathBuf, links: Arc<Mutex<Links>>) {
    while let Ok((client, _)) = listener.accept().await {
        let mut all = lock(&links);
        let (state, seen) = watch::channel(all.fresh);
        all.open.retain(|connection| !connection.is_closed());
        all.open.push(state.clone());
        drop(all);
        let connection = Connection { links: Arc::clone(&links), state, seen };
        let socket = socket.clone();
        tokio::spawn(async move { connection.run(client, socket).await });
    }
}

/// One connection, for as long as both ends and its link last.
struct Connection {
    links: Arc<Mutex<Links>>,
    state: watch::Sender<Link>,
    seen: watch::Receiver<Link>,
}

impl Connection {
    async fn run(mut self, client: TcpStream, socket: PathBuf) {
        // While this receiver is there, the connection counts as open.
        let mut cut = self.seen.clone();
        let passing = async {
            // One that comes to a black hole is never seen by the server.
            let _ = self.seen.wait_for(|link| *link != Link::Silent).await;
            let server = UnixStream::connect(socket).await?;
            client.set_nodelay(true)?;
            let (client_out, client_in) = client.into_split();
            let (server_out, server_in) = server.into_split();
            tokio::try_join!(
                self.pass(client_out, server_in, Direction::ToServer),
                self.pass(server_out, client_in, Direction::ToClient)
            )
        };
        tokio::select! {
            _ = cut.wait_for(|link| *link == Link::Cut) => {}
            _ = passing => {}
        }
    }

    /// Passes bytes on in one direction, until their end.
    async fn pass(&self, mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, direction: Direction) -> io::Result<()> {
        let mut link = self.state.subscribe();
        let mut piece = vec![0; PIECE_BYTES];
        let mut tail = Vec::new();
        loop {
            // A held link is not read, so its sender's buffers fill up and it has to wait.
            let _ = link.wait_for(|link| !link.holds(direction)).await;
            let count = tokio::select! {
                _ = link.changed() => continue,
                read = from.read(&mut piece) => read?,
            };
            if count == 0 {
                return to.shutdown().await;
            }
            match direction {
                Direction::ToServer => self.look_for_trigger(&mut tail, &piece[..count]),
                Direction::ToClient if *link.borrow() == Link::CutAtAnswer => {
                    self.state.send_replace(Link::Cut);
                }
                Direction::ToClient => {}
            }
            let now = *link.borrow_and_update();
            if let Link::Slow(time) = now {
                tokio::time::sleep(time).await;
            }
            // It may have become another link with this very piece.
            let _ = link.wait_for(|link| !link.holds(direction) && *link != Link::Cut).await;
            to.write_all(&piece[..count]).await?;
        }
    }

    /// The text may come in two pieces, so `tail` keeps the end of what came before.
    fn look_for_trigger(&self, tail: &mut Vec<u8>, piece: &[u8]) {
        let Some(trigger) = lock(&self.links).trigger.clone() else {
            return;
        };
        tail.extend_from_slice(piece);
        if memchr::memmem::find(tail, &trigger.text).is_some() {
            self.state.send_replace(trigger.then);
            tail.clear();
            if let Some(told) = trigger.told {
                lock(&self.links).trigger = None;
                let _ = told.send(Caught(self.state.clone()));
                return;
            }
        }
        let keep = tail.len().min(trigger.text.len() - 1);
        tail.drain(..tail.len() - keep);
    }
}
