//! A PostgreSQL cluster of one test, which may be crashed and started again.

use std::path::PathBuf;
use std::process::Child;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use pgsluice::config::Embedded;
use pgsluice::engine::embedded::Cluster;

use super::cluster::{Database, start_guard};
use super::service::signal;

pub(crate) struct Server {
    dir: PathBuf,
    cluster: Option<Cluster>,
    url: String,
    /// stops the server and removes its directory when this goes
    _guard: Child,
}

impl Server {
    pub(crate) async fn start() -> Server {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Relaxed);
        let dir = std::env::temp_dir().join(format!("pgsluice-test-{number}-{}", std::process::id()));
        let mut server = Server { _guard: start_guard(&dir), dir, cluster: None, url: String::new() };
        server.restart().await;
        server
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Its database.
    pub(crate) async fn database(&self) -> Database {
        let name = self.url.rsplit('/').next().unwrap().to_owned();
        Database::open(self.url.clone(), name).await
    }

    /// Ends it as a crash does: every session is cut off, nothing is written that is not written yet.
    pub(crate) async fn crash(&mut self) {
        // With it goes the lock on the directory; the server stays.
        self.cluster = None;
        let pid_file = self.dir.join("cluster/postmaster.pid");
        let postmaster = std::fs::read_to_string(&pid_file).unwrap();
        signal(postmaster.lines().next().unwrap().parse().unwrap(), "QUIT");
        for _ in 0..600 {
            if !pid_file.exists() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the server did not end within 30 s");
    }

    /// Starts it, after a crash for one.
    pub(crate) async fn restart(&mut self) {
        let search_path = std::env::var_os("PATH").unwrap_or_default();
        let settings = Embedded { data_dir: self.dir.clone(), run_as: None, search_path };
        let cluster = tokio::task::spawn_blocking(move || Cluster::start(&settings).unwrap()).await.unwrap();
        self.url = cluster.url();
        self.cluster = Some(cluster);
    }
}
