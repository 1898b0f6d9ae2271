//! A client that sends what it is told to, as far as it is told to, and then goes on, goes away, or goes silent.

use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A request for a load.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// `127.0.0.1:port`
    pub(crate) address: String,
    /// path and query
    pub(crate) target: String,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) framing: Framing,
    /// a close is a reset
    pub(crate) resets: bool,
}

/// How the body's length is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    Length,
    /// in chunks of so many bytes
    Chunks(usize),
}

/// An answer, as far as this client is concerned.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) replayed: bool,
    pub(crate) location: Option<String>,
    pub(crate) json: Value,
}

impl Answer {
    /// The problem's short name; nothing for a success.
    pub(crate) fn problem(&self) -> &str {
        self.json["type"].as_str().and_then(|name| name.rsplit(':').next()).unwrap_or_default()
    }

    pub(crate) fn job(&self) -> Option<&str> {
        self.json["id"].as_str().or(self.json["job_id"].as_str())
    }
}

/// What the client knows at the end.
#[derive(Debug, Clone)]
pub(crate) enum Heard {
    Answer(Answer),
    /// the connection ended without one
    Nothing,
}

/// How far the client may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
enum Leave {
    /// so many bytes of the body
    Bytes(usize),
    /// to the end, and says that it is the end
    All,
}

/// A request under way.
pub(crate) struct Call {
    leave: watch::Sender<Leave>,
    sent: watch::Receiver<usize>,
    writing: JoinHandle<Option<OwnedWriteHalf>>,
    reading: JoinHandle<Heard>,
    /// becomes true with the answer, or with the end of the connection
    heard: watch::Receiver<bool>,
}

impl Call {
    /// Connects and sends the head; `None` when nobody is there.
    pub(crate) async fn begin(request: Request) -> Option<Call> {
        let stream = TcpStream::connect(&request.address).await.ok()?;
        if request.resets {
            stream.set_zero_linger().unwrap();
        }
        let (read, write) = stream.into_split();
        let (leave, allowed) = watch::channel(Leave::Bytes(0));
        let (progress, sent) = watch::channel(0);
        let writing = tokio::spawn(write_all(request, write, allowed, progress));
        let (over, heard) = watch::channel(false);
        let reading = tokio::spawn(async move {
            let answer = read_answer(read).await;
            over.send_replace(true);
            answer
        });
        Some(Call { leave, sent, writing, reading, heard })
    }

    /// Sends the body up to there, and returns when that is on its way or cannot be.
    pub(crate) async fn send_until(&mut self, bytes: usize) {
        self.leave.send_replace(Leave::Bytes(bytes));
        let _ = self.sent.wait_for(|sent| *sent >= bytes).await;
    }

    /// Lets the rest of the body go, and its end.
    pub(crate) fn send_all(&self) {
        self.leave.send_replace(Leave::All);
    }

    /// Waits until all of it is on its way, or cannot be.
    pub(crate) async fn sent_all(&mut self) {
        let _ = self.sent.wait_for(|sent| *sent == usize::MAX).await;
    }

    /// Says that nothing more comes, in the middle of the body; still listens.
    pub(crate) async fn half_close(&mut self) {
        self.leave.send_replace(Leave::Bytes(0));
        self.writing.abort();
        // The half is dropped with its task, which is a shutdown.
        let _ = (&mut self.writing).await;
    }

    /// Closes the connection, or resets it.
    pub(crate) async fn go_away(self) {
        self.writing.abort();
        self.reading.abort();
        let _ = tokio::join!(self.writing, self.reading);
    }

    /// Whether there is something to be heard by now.
    pub(crate) fn has_answer(&self) -> bool {
        *self.heard.borrow()
    }

    /// Waits until there is something to be heard, but not for longer than that.
    pub(crate) async fn answered(&mut self, time: Duration) {
        let _ = tokio::time::timeout(time, self.heard.wait_for(|heard| *heard)).await;
    }

    /// Waits so long for an answer, or for the end of the connection.
    pub(crate) async fn heard_within(&mut self, time: Duration) -> Option<Heard> {
        tokio::time::timeout(time, &mut self.reading).await.ok().map(Result::unwrap)
    }
}

/// Sends a whole request and waits so long for what comes of it; `None` when that is too long.
pub(crate) async fn call(request: Request, patience: Duration) -> Option<Heard> {
    let Some(mut call) = Call::begin(request).await else {
        return Some(Heard::Nothing);
    };
    call.send_all();
    call.heard_within(patience).await
}

async fn write_all(
    request: Request,
    mut to: OwnedWriteHalf,
    mut allowed: watch::Receiver<Leave>,
    progress: watch::Sender<usize>,
) -> Option<OwnedWriteHalf> {
    to.write_all(&head(&request)).await.ok()?;
    let piece_max = match request.framing {
        Framing::Length => 16 << 10,
        Framing::Chunks(bytes) => bytes,
    };
    let mut sent = 0;
    while sent < request.body.len() {
        let beyond = |leave: &Leave| *leave == Leave::All || matches!(leave, Leave::Bytes(bytes) if *bytes > sent);
        let leave = *allowed.wait_for(beyond).await.ok()?;
        let until = match leave {
            Leave::Bytes(bytes) => bytes.min(request.body.len()),
            Leave::All => request.body.len(),
        };
        let piece = &request.body[sent..until.min(sent + piece_max)];
        write_piece(&mut to, piece, request.framing).await?;
        sent += piece.len();
        progress.send_replace(sent);
    }
    allowed.wait_for(|leave| *leave == Leave::All).await.ok()?;
    if matches!(request.framing, Framing::Chunks(_)) {
        to.write_all(b"0\r\n\r\n").await.ok()?;
    }
    progress.send_replace(usize::MAX);
    // Dropped, it would tell the service that the client has gone.
    Some(to)
}

fn head(request: &Request) -> Vec<u8> {
    let mut head = format!("POST {} HTTP/1.1\r\nHost: {}\r\n", request.target, request.address);
    for (name, value) in &request.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    match request.framing {
        Framing::Length => head.push_str(&format!("Content-Length: {}\r\n\r\n", request.body.len())),
        Framing::Chunks(_) => head.push_str("Transfer-Encoding: chunked\r\n\r\n"),
    }
    head.into_bytes()
}

async fn write_piece(to: &mut OwnedWriteHalf, piece: &[u8], framing: Framing) -> Option<()> {
    match framing {
        Framing::Length => to.write_all(piece).await.ok(),
        Framing::Chunks(_) => {
            let mut chunk = format!("{:x}\r\n", piece.len()).into_bytes();
            chunk.extend_from_slice(piece);
            chunk.extend_from_slice(b"\r\n");
            to.write_all(&chunk).await.ok()
        }
    }
}

/// One answer with a `Content-Length`, which all answers to a load have.
async fn read_answer(mut from: OwnedReadHalf) -> Heard {
    let mut bytes = Vec::new();
    loop {
        if let Some(answer) = parse(&bytes) {
            return Heard::Answer(answer);
        }
        match from.read_buf(&mut bytes).await {
            Ok(1..) => {}
            Ok(0) | Err(_) => return Heard::Nothing,
        }
    }
}

fn parse(bytes: &[u8]) -> Option<Answer> {
    let end = memchr::memmem::find(bytes, b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).unwrap();
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers: Vec<(String, &str)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value))
        .collect();
    let header = |name: &str| headers.iter().find(|(header, _)| header == name).map(|(_, value)| *value);
    let length: usize = header("content-length").unwrap().parse().unwrap();
    let body = bytes.get(end + 4..end + 4 + length)?;
    Some(Answer {
        status,
        replayed: header("idempotent-replayed") == Some("true"),
        location: header("location").map(str::to_owned),
        json: serde_json::from_slice(body).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(body).into_owned())),
    })
}
