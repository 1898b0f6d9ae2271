//! A PostgreSQL of its own with TLS, on a port of loopback.

use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use super::certificates::{Certified, write};
use super::{Database, cluster, run, signal};

const ACCESS: &str = "
local   all all       trust
hostssl all certified 127.0.0.1/32 scram-sha-256 clientcert=verify-full
hostssl all app       127.0.0.1/32 scram-sha-256
host    all plain     127.0.0.1/32 scram-sha-256
";

pub(crate) struct TlsServer {
    postmaster: Child,
    dir: PathBuf,
    port: u16,
    owner: Option<(u32, u32)>,
}

impl TlsServer {
    /// Starts it with this certificate, and asks clients for certificates of the authority. The roles `app`, `certified` (with a client
    /// certificate only) and `plain` (also without TLS) have the password `s3cret`; the database is `db`, and app's.
    pub(crate) async fn start(certified: &Certified, client_authority: &str) -> TlsServer {
        let (certified, client_authority) = (certified.clone(), client_authority.to_owned());
        let server = tokio::task::spawn_blocking(move || TlsServer::launch(&certified, &client_authority)).await.unwrap();
        let admin = server.admin("postgres").await;
        admin
            .sql(
                "CREATE ROLE app LOGIN PASSWORD 's3cret'; CREATE ROLE certified LOGIN PASSWORD 's3cret'; \
                 CREATE ROLE plain LOGIN PASSWORD 's3cret'; GRANT app TO certified, plain;",
            )
            .await;
        admin.sql("CREATE DATABASE db OWNER app").await;
        server
    }

    fn launch(certified: &Certified, client_authority: &str) -> TlsServer {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let dir = cluster::run_dir().join(format!("tls-{}", NUMBER.fetch_add(1, Relaxed)));
        std::fs::create_dir_all(&dir).unwrap();
        let owner = owner();
        own(&dir, owner);
        let data = dir.join("data");
        let mut initdb = program("initdb", owner);
        run(initdb.args(["-U", "postgres", "-A", "trust", "--no-sync", "-D"]).arg(&data));
        std::fs::write(data.join("pg_hba.conf"), ACCESS).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut postgres = program("postgres", owner);
        postgres.arg("-D").arg(&data).args(["-p", &port.to_string(), "-k"]).arg(&dir);
        // In a file, which ALTER SYSTEM overrules.
        let settings = "listen_addresses = '127.0.0.1'\nfsync = off\nssl = on\nssl_ca_file = 'clients.crt'\nmax_connections = 60\n";
        std::fs::write(data.join("postgresql.conf"), settings).unwrap();
        let write_as_owner = |name: &str, text: &str| own(&write(&data, name, text), owner);
        write_as_owner("clients.crt", client_authority);
        write_pair(&data, owner, certified);
        let postmaster = postgres.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        cluster::guard(postmaster.id());
        let server = TlsServer { postmaster, dir, port, owner };
        server.wait_until_it_listens();
        server
    }

    fn wait_until_it_listens(&self) {
        for _ in 0..600 {
            let status = std::fs::read_to_string(self.dir.join("data/postmaster.pid")).unwrap_or_default();
            if status.lines().nth(7).is_some_and(|line| line.trim() == "ready") {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("the server did not start within 30 s");
    }

    /// The superuser's way in, by the unix socket.
    pub(crate) async fn admin(&self, database: &str) -> Database {
        let socket = self.dir.display().to_string().replace('/', "%2F");
        let url = format!("postgresql://postgres@{socket}:{}/{database}", self.port);
        Database::open(url, database.to_owned()).await
    }

    /// The URL of `db` for a role, by way of a host.
    pub(crate) fn url(&self, role: &str, host: &str, parameters: &str) -> String {
        format!("postgresql://{role}:s3cret@{host}:{}/db?{parameters}", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Shows another certificate from now on.
    pub(crate) async fn present(&self, certified: &Certified) {
        write_pair(&self.dir.join("data"), self.owner, certified);
        self.reload().await;
    }

    /// Has settings read again, and waits until a new connection sees them.
    pub(crate) async fn reload(&self) {
        let before = self.admin("postgres").await.texts("SELECT pg_conf_load_time()::text").await;
        signal(self.postmaster.id(), "HUP");
        for _ in 0..600 {
            if self.admin("postgres").await.texts("SELECT pg_conf_load_time()::text").await != before {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the server did not reload within 30 s");
    }
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        signal(self.postmaster.id(), "QUIT");
        let _ = self.postmaster.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn write_pair(data: &Path, owner: Option<(u32, u32)>, certified: &Certified) {
    own(&write(data, "server.crt", &certified.chain), owner);
    let key = write(data, "server.key", &certified.key);
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    own(&key, owner);
}

/// The server refuses root.
pub(super) fn owner() -> Option<(u32, u32)> {
    let id = |arguments: &[&str]| run(Command::new("id").args(arguments)).trim().parse::<u32>().unwrap();
    (id(&["-u"]) == 0).then(|| (id(&["-u", "postgres"]), id(&["-g", "postgres"])))
}

pub(super) fn own(path: &Path, owner: Option<(u32, u32)>) {
    if let Some((uid, gid)) = owner {
        chown(path, Some(uid), Some(gid)).unwrap();
    }
}

/// A program of the server's: on PATH, else Debian's newest.
pub(super) fn program(name: &str, owner: Option<(u32, u32)>) -> Command {
    let debian = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let version = |path: &Path| path.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok());
    let mut dirs: Vec<PathBuf> = debian.map(|entry| entry.path()).collect();
    dirs.sort_by_key(|path| std::cmp::Reverse(version(path)));
    let on_path = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect::<Vec<_>>();
    let candidates = on_path.into_iter().chain(dirs.into_iter().map(|dir| dir.join("bin"))).map(|dir| dir.join(name));
    let mut command = Command::new(candidates.into_iter().find(|path| path.exists()).unwrap());
    command.current_dir("/").env("LC_ALL", "C").process_group(0);
    if let Some((uid, gid)) = owner {
        command.uid(uid).gid(gid);
    }
    command
}
