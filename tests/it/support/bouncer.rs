//! A PgBouncer in transaction mode in front of a test's database, as Debian packages it.

use std::io::Read;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::Database;

/// Runs it until the standard input ends, which it does when the test is over, whatever way; then removes all that there is of it.
const KEEPER: &str = r#"
PATH=$PATH:/usr/sbin
pgbouncer -q "$0/pgbouncer.ini" </dev/null & pid=$!
echo "$pid"
while read -r _; do :; done
kill -CONT "$pid"; kill -9 "$pid"; rm -rf "$0"
"#;

pub(crate) struct Bouncer {
    keeper: Child,
    pub(crate) pid: u32,
    /// of the test's database, by way of it
    pub(crate) url: String,
}

impl Bouncer {
    /// In transaction mode, with so many server connections.
    pub(crate) async fn start(db: &Database, server_connections: u32) -> Bouncer {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("pgsluice-test-bouncer{}-{}", NUMBER.fetch_add(1, Relaxed), std::process::id());
        let dir = std::env::temp_dir().join(name);
        let server = socket_dir(db);
        std::fs::create_dir(&dir).unwrap();
        let ini = settings(&server, &dir, server_connections);
        std::fs::write(dir.join("pgbouncer.ini"), ini).unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", KEEPER]).arg(&dir).stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
        // It refuses to run as root, and only the server's owner may enter the directory of its socket.
        let (us, owner) = (dir.metadata().unwrap(), server.metadata().unwrap());
        if us.uid() != owner.uid() {
            chown(&dir, Some(owner.uid()), Some(owner.gid())).unwrap();
            command.uid(owner.uid()).gid(owner.gid());
        }
        let mut keeper = command.spawn().unwrap();
        let pid = first_line(&mut keeper).parse().unwrap();
        let url = format!("postgresql://postgres@{}:6432/{}", dir.display().to_string().replace('/', "%2F"), db.name);
        let bouncer = Bouncer { keeper, pid, url };
        bouncer.answers().await;
        bouncer
    }

    async fn answers(&self) {
        for _ in 0..200 {
            if tokio_postgres::connect(&self.url, tokio_postgres::NoTls).await.is_ok() {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        panic!("PgBouncer does not answer; `make test` installs it");
    }
}

impl Drop for Bouncer {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

fn settings(server: &Path, dir: &Path, server_connections: u32) -> String {
    format!(
        "[databases]\n* = host={} port=5432 user=postgres\n\
         [pgbouncer]\nlisten_addr =\nlisten_port = 6432\nunix_socket_dir = {}\nlogfile = {}/log\nauth_type = any\n\
         pool_mode = transaction\ndefault_pool_size = {server_connections}\nmax_client_conn = 300\n",
        server.display(),
        dir.display(),
        dir.display(),
    )
}

/// Where the server's socket is, as the URL of the database says.
fn socket_dir(db: &Database) -> PathBuf {
    let (_, host) = db.url.split_once('@').unwrap();
    let (host, _) = host.split_once(':').unwrap();
    PathBuf::from(host.replace("%2F", "/"))
}

fn first_line(keeper: &mut Child) -> String {
    let mut line = String::new();
    let mut byte = [0];
    while keeper.stdout.as_mut().unwrap().read(&mut byte).unwrap() == 1 && byte[0] != b'\n' {
        line.push(byte[0].into());
    }
    line
}
