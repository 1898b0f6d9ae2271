//! The listening loop, and going down in order.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::connection::Connections;
use super::reload::keep_looking;
use super::tls::Tls;
use super::{Edge, router};
use crate::access::Gate;

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
pub async fn serve(listener: TcpListener, edge: Arc<Edge>, tls: Option<Tls>, shutdown: Shutdown) {
    let tls = tls.map(Arc::new);
    let certificate = tls.clone().map(|tls| tokio::spawn(keep_looking("TLS certificate", move || tls.look())));
    let tokens = edge.gate.as_ref().and_then(Gate::tokens);
    let key_set = tokens.map(|tokens| tokio::spawn(keep_looking("key set", move || tokens.look())));
    let _reload = [certificate, key_set].map(|task| task.map(AbortOnDropHandle::new));
    let connections = Arc::new(Connections::new(router(Arc::clone(&edge)), &edge.settings, tls));
    let open = GracefulShutdown::new();
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
        let (connections, watcher) = (Arc::clone(&connections), open.watcher());
        tokio::spawn(async move { connections.serve(stream, remote, watcher).await });
    }
    drop(listener);
    edge.closing.cancel();
    let _ = tokio::time::timeout(CLOSE_TIME, open.shutdown()).await;
}

async fn drain(edge: &Edge, shutdown: Shutdown) {
    shutdown.begin.cancelled().await;
    edge.draining.store(true, Relaxed);
    edge.conductor.drain(edge.settings.shutdown_grace, &shutdown.hurry).await;
}
