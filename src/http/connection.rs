//! One connection, from its first byte to its last: TLS or not, HTTP/1.1 or HTTP/2.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::StatusCode;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::Watcher;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tower::ServiceExt;

use super::auth::Remote;
use super::peer::{Line, Peer};
use super::problem::Problem;
use super::tls::{Tls, is_handshake, is_http2};
use super::whole::Whole;
use crate::config;

/// What is read from a client at once, and what a request's head may take. Larger reads are not faster, and make memory a matter of chance.
const READ_BYTES_MAX: usize = 128 << 10;

/// What all connections are served with.
#[derive(Debug)]
pub(super) struct Connections {
    router: Router,
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
    tls: Option<Arc<Tls>>,
    handshake_timeout: Duration,
    linger: Duration,
}

impl Connections {
    pub(super) fn new(router: Router, settings: &config::Http, tls: Option<Arc<Tls>>) -> Connections {
        let mut http1 = http1::Builder::new();
        http1
            .max_buf_size(READ_BYTES_MAX)
            .timer(TokioTimer::new())
            .header_read_timeout(settings.header_timeout);
        Connections {
            router,
            http1,
            http2: http2_builder(&settings.http2),
            tls,
            handshake_timeout: settings.handshake_timeout,
            linger: settings.linger_idle,
        }
    }

    /// Serves a connection to its end.
    pub(super) async fn serve(&self, stream: TcpStream, remote: SocketAddr, watcher: Watcher) {
        // Answers are small and awaited.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY");
        }
        let Some(tls) = &self.tls else {
            let line = Line::new(stream);
            let from = From(line.peer(), Remote(remote));
            return self.serve_http1(line, from, watcher).await;
        };
        let handshake = tokio::time::timeout(self.handshake_timeout, self.shake_hands(tls, stream));
        match handshake.await {
            Ok(Some((stream, peer))) if is_http2(&stream) => self.serve_http2(stream, From(peer, Remote(remote)), watcher).await,
            Ok(Some((stream, peer))) => self.serve_http1(stream, From(peer, Remote(remote)), watcher).await,
            Ok(None) => {}
            Err(_) => tracing::info!(seconds = self.handshake_timeout.as_secs(), "a TLS handshake took too long"),
        }
    }

    async fn shake_hands(&self, tls: &Tls, stream: TcpStream) -> Option<(TlsStream<Line>, Peer)> {
        let mut first = [0];
        match stream.peek(&mut first).await {
            Ok(0) | Err(_) => return None,
            Ok(_) if !is_handshake(first[0]) => {
                self.refuse_plain_text(stream).await;
                return None;
            }
            Ok(_) => {}
        }
        let line = Line::new(stream);
        let peer = line.peer();
        let shaken = tls.accept(line).await.inspect_err(|error| tracing::info!(%error, "a TLS handshake failed"));
        Some((shaken.ok()?, peer))
    }

    /// Whoever speaks plain HTTP here is told so, in plain HTTP.
    async fn refuse_plain_text(&self, mut stream: TcpStream) {
        tracing::info!("plain HTTP on the HTTPS port was refused");
        let detail = "this port speaks HTTPS, and the request came without TLS: use https:// in the URL";
        let problem = Problem::new(StatusCode::BAD_REQUEST, "tls-required", "HTTPS is needed", detail);
        let body = serde_json::to_string(&problem).unwrap_or_default();
        let head = "HTTP/1.1 400 Bad Request\r\nContent-Type: application/problem+json\r\nConnection: close\r\nContent-Length:";
        let answer = format!("{head} {}\r\n\r\n{body}", body.len());
        if stream.write_all(answer.as_bytes()).await.is_ok() && stream.shutdown().await.is_ok() {
            // Closed with bytes unread, the connection would be reset, and the answer lost.
            let rest = async { tokio::io::copy(&mut stream, &mut tokio::io::sink()).await };
            let _ = tokio::time::timeout(self.linger, rest).await;
        }
    }

    async fn serve_http1<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(&self, stream: S, from: From, watcher: Watcher) {
        let service = TowerToHyperService::new(self.router.clone().map_request(move |request| from.mark(request)));
        let connection = self.http1.serve_connection(TokioIo::new(stream), service);
        log_end(watcher.watch(connection).await);
    }

    async fn serve_http2<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(&self, stream: S, from: From, watcher: Watcher) {
        let whole = move |request: Request<Incoming>| from.mark(request).map(|body| Body::new(Whole(body)));
        let service = TowerToHyperService::new(self.router.clone().map_request(whole));
        let connection = self.http2.serve_connection(TokioIo::new(stream), service);
        log_end(watcher.watch(connection).await);
    }
}

/// Whom the requests of a connection are from.
#[derive(Clone)]
struct From(Peer, Remote);

impl From {
    fn mark(&self, mut request: Request<Incoming>) -> Request<Incoming> {
        request.extensions_mut().insert(self.0.clone());
        request.extensions_mut().insert(self.1);
        request
    }
}

fn http2_builder(settings: &config::Http2) -> http2::Builder<TokioExecutor> {
    let mut http2 = http2::Builder::new(TokioExecutor::new());
    http2
        .timer(TokioTimer::new())
        .max_concurrent_streams(settings.streams_max)
        .initial_stream_window_size(settings.stream_window_bytes)
        // Room for every stream's window: uploads that are not read take theirs, and none of the others'.
        .initial_connection_window_size(settings.stream_window_bytes.saturating_mul(settings.streams_max))
        .max_frame_size(settings.frame_bytes_max)
        .max_header_list_size(settings.header_bytes_max)
        .keep_alive_interval(settings.ping_interval)
        .keep_alive_timeout(settings.ping_timeout);
    http2
}

fn log_end(result: Result<(), hyper::Error>) {
    if let Err(error) = result {
        tracing::debug!(%error, "connection ended");
    }
}
