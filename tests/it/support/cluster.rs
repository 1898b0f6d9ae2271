//! A PostgreSQL cluster that exists for one run of the tests.
//!
//! Whatever way the run ends, the cluster goes with it: a guard process waits for the end of its standard input, which comes when this
//! process is gone, and then stops what it was told of and removes the directory.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock};

use pgsluice::config::Embedded;
use pgsluice::engine::embedded::Cluster;
use tokio_postgres::{Client, NoTls, Row};

const GUARD: &str = r#"
dir=$1
up() { for file in "$dir"/cluster/postmaster.pid "$dir"/*/cluster/postmaster.pid; do [ -e "$file" ] && return; done; false; }
while read -r pid; do pids="$pids $pid"; done
for pid in $pids; do
    # The number may be somebody else's by now.
    case $(readlink "/proc/$pid/exe") in */pgsluice*) kill -CONT "$pid"; kill -9 "$pid" ;; esac
done 2>/dev/null
for file in "$dir"/cluster/postmaster.pid "$dir"/*/cluster/postmaster.pid; do
    postmaster=$(head -n 1 "$file" 2>/dev/null) && kill -QUIT "$postmaster"
done
for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do up || break; sleep 0.2; done
while read -r _ place _; do case $place in "$dir"/*) umount "$place" ;; esac; done </proc/mounts
rm -rf "$dir"
"#;

/// What belongs to this run of the tests.
struct Run {
    dir: PathBuf,
    guard: Mutex<Child>,
}

fn this_run() -> &'static Run {
    static RUN: OnceLock<Run> = OnceLock::new();
    RUN.get_or_init(|| {
        let dir = std::env::temp_dir().join(format!("pgsluice-test-{}", std::process::id()));
        let guard = start_guard(&dir);
        Run { dir, guard: Mutex::new(guard) }
    })
}

/// The directory of this run of the tests, which goes with it.
pub(super) fn run_dir() -> PathBuf {
    this_run().dir.clone()
}

pub(super) fn start_guard(dir: &Path) -> Child {
    let mut guard = Command::new("sh");
    guard.args(["-c", GUARD, "guard"]).arg(dir).stdin(Stdio::piped()).stdout(Stdio::null());
    // Ctrl-C is for the tests; the guard has to outlive them.
    guard.process_group(0).spawn().unwrap()
}

/// Has a process killed at the end of the run, should the test not get to it.
pub(super) fn guard(pid: u32) {
    let mut guard = this_run().guard.lock().unwrap();
    writeln!(guard.stdin.as_mut().unwrap(), "{pid}").unwrap();
}

/// The directory of a cluster of this run; whatever else is put there is removed with it.
pub(crate) fn cluster_dir(name: &str) -> PathBuf {
    this_run().dir.join(name)
}

/// Starts a cluster of this run, if it does not run yet.
pub(crate) fn start_cluster(name: &str) -> Cluster {
    let search_path = std::env::var_os("PATH").unwrap_or_default();
    Cluster::start(&Embedded { data_dir: cluster_dir(name), run_as: None, search_path }).unwrap()
}

fn shared() -> &'static Cluster {
    static SHARED: OnceLock<Cluster> = OnceLock::new();
    SHARED.get_or_init(|| start_cluster("shared"))
}

/// A database of one test.
pub(crate) struct Database {
    pub(crate) url: String,
    pub(crate) name: String,
    pub(crate) client: Client,
}

impl Database {
    pub(crate) async fn create() -> Database {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let cluster_url = tokio::task::spawn_blocking(|| shared().url()).await.unwrap();
        let name = format!("t{}", NUMBER.fetch_add(1, Relaxed));
        let admin = connect(&cluster_url).await;
        admin.batch_execute("ALTER SYSTEM SET fsync = off; ").await.unwrap();
        admin.batch_execute("SELECT pg_reload_conf()").await.unwrap();
        admin.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
        let (server, _) = cluster_url.rsplit_once('/').unwrap();
        Database::open(format!("{server}/{name}"), name).await
    }

    /// One that is there already.
    pub(crate) async fn open(url: String, name: String) -> Database {
        let client = connect(&url).await;
        Database { url, name, client }
    }

    /// Another connection to it.
    pub(crate) async fn connect(&self) -> Client {
        connect(&self.url).await
    }

    pub(crate) async fn sql(&self, sql: &str) {
        self.client.batch_execute(sql).await.unwrap();
    }

    /// From now on the COMMIT of each load into `t` takes so long: a deferred trigger sleeps.
    pub(crate) async fn make_commits_slow(&self, seconds: u32) {
        let trigger = format!(
            "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep({seconds}); RETURN NULL; END'; \
             CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON t DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION slow()"
        );
        self.sql(&trigger).await;
    }

    pub(crate) async fn rows(&self, sql: &str) -> Vec<Row> {
        self.client.query(sql, &[]).await.unwrap()
    }

    pub(crate) async fn count(&self, table: &str) -> i64 {
        self.rows(&format!("SELECT count(*) FROM {table}")).await[0].get(0)
    }

    /// The first column of every row, as text.
    pub(crate) async fn texts(&self, sql: &str) -> Vec<Option<String>> {
        self.rows(sql).await.iter().map(|row| row.get(0)).collect()
    }

    /// Waits until the query's first value is true.
    pub(crate) async fn wait_until(&self, sql: &str) {
        for _ in 0..600 {
            let rows = self.rows(sql).await;
            if rows.first().is_some_and(|row| row.get::<_, bool>(0)) {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        panic!("not within 30 s: {sql}");
    }

    /// Server processes of loads that have a transaction open in this database.
    pub(crate) async fn loading_pids(&self) -> Vec<i32> {
        let sql = format!(
            "SELECT pid FROM pg_stat_activity WHERE datname = '{}' AND application_name = 'pgsluice bulk' AND xact_start IS NOT NULL",
            self.name
        );
        self.rows(&sql).await.iter().map(|row| row.get(0)).collect()
    }
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Pids of every process whose command line holds this text.
pub(crate) fn server_pids(text: &str) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let has_text = |pid: &u32| {
        let path = PathBuf::from("/proc").join(pid.to_string()).join("cmdline");
        std::fs::read(path).is_ok_and(|line| String::from_utf8_lossy(&line).contains(text))
    };
    pids.filter(has_text).collect()
}
