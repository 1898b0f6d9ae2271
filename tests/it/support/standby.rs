//! A standby that streams from a test's [`Server`], and can be promoted.

use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use super::cluster::{self, Database};
use super::server::Server;
use super::tls_server::{own, owner, program};
use super::{run, signal};

pub(crate) struct Standby {
    dir: PathBuf,
    /// `None` while it is down
    postmaster: Option<Child>,
}

impl Standby {
    /// Copies the server and follows it.
    pub(crate) async fn of(server: &Server) -> Standby {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let dir = cluster::run_dir().join(format!("standby-{}", NUMBER.fetch_add(1, Relaxed)));
        std::fs::create_dir_all(&dir).unwrap();
        own(&dir, owner());
        let mut copy = program("pg_basebackup", owner());
        copy.args(["--dbname", server.url(), "--write-recovery-conf", "--checkpoint=fast", "--no-sync", "--pgdata"]);
        copy.arg(dir.join("cluster"));
        tokio::task::spawn_blocking(move || run(&mut copy)).await.unwrap();
        let mut standby = Standby { dir, postmaster: None };
        standby.start().await;
        standby
    }

    /// Starts it, as what it was when it went down.
    pub(crate) async fn start(&mut self) {
        let mut postgres = program("postgres", owner());
        postgres.arg("-D").arg(self.dir.join("cluster")).arg("-k").arg(&self.dir).args(["-c", "fsync=off"]);
        let postmaster = postgres.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        cluster::guard(postmaster.id());
        self.postmaster = Some(postmaster);
        self.wait_until_it_is("ready").await;
    }

    /// As the line in its pid file has it, which says `standby` until it takes connections.
    async fn wait_until_it_is(&self, state: &str) {
        for _ in 0..600 {
            let file = std::fs::read_to_string(self.dir.join("cluster/postmaster.pid")).unwrap_or_default();
            if file.lines().nth(7).is_some_and(|line| line.trim() == state) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the standby was not {state} within 30 s");
    }

    pub(crate) fn url(&self) -> String {
        let socket = self.dir.display().to_string().replace('/', "%2F");
        format!("postgresql://postgres@{socket}:5432/pgsluice")
    }

    pub(crate) async fn database(&self) -> Database {
        Database::open(self.url(), "pgsluice".to_owned()).await
    }

    /// Makes it a primary.
    pub(crate) async fn promote(&self) {
        let mut promote = program("pg_ctl", owner());
        promote.args(["promote", "--wait", "--pgdata"]).arg(self.dir.join("cluster"));
        tokio::task::spawn_blocking(move || run(&mut promote)).await.unwrap();
    }

    /// Ends it as a crash does.
    pub(crate) fn crash(&mut self) {
        if let Some(mut postmaster) = self.postmaster.take() {
            signal(postmaster.id(), "QUIT");
            postmaster.wait().unwrap();
        }
    }
}

impl Drop for Standby {
    fn drop(&mut self) {
        self.crash();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}
