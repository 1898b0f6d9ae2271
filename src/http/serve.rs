//! The listening loop, and going down in order.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::auth::Remote;
use super::peer::Line;
use super::{Edge, router};

/// After a failed accept (no file descriptors left, say), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// What answers that are on their way get to go out, once no load runs any more.
const CLOSE_TIME: Duration = Duration::from_secs(5);

/// How the service is told to go down.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    /// take no new loads, and let those that run finish within their grace period
    pub begin: CancellationToken,
    /// do not wait for them any longer
    pub hurry: CancellationToken,
}

/// Serves until `shutdown`; then takes no new loads, gives those that run their grace period, and only then closes the door: whoever
/// asks after a job meanwhile is answered.
pub async fn serve(listener: TcpListener, edge: Arc<Edge>, shutdown: Shutdown) {
    let router = router(Arc::clone(&edge));
    let connections = GracefulShutdown::new();
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(edge.settings.header_timeout);
    let mut drained = std::pin::pin!(drain(&edge, shutdown));
    loop {
        let accepted = tokio::select! {
            () = &mut drained => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, remote) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let line = prepare(stream);
        let peer = line.peer();
        let service = router.clone().map_request(move |mut request: hyper::Request<hyper::body::Incoming>| {
            request.extensions_mut().insert(peer.clone());
            request.extensions_mut().insert(Remote(remote));
            request
        });
        let connection = builder.serve_connection(TokioIo::new(line), TowerToHyperService::new(service));
        let connection = connections.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection ended");
            }
        });
    }
    drop(listener);
    let _ = tokio::time::timeout(CLOSE_TIME, connections.shutdown()).await;
}

fn prepare(stream: TcpStream) -> Line {
    // Answers are small and awaited.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY");
    }
    Line::new(stream)
}

async fn drain(edge: &Edge, shutdown: Shutdown) {
    shutdown.begin.cancelled().await;
    edge.draining.store(true, Relaxed);
    edge.conductor.drain(edge.settings.shutdown_grace, &shutdown.hurry).await;
}
