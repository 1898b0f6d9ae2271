//! Where trials take place: a cluster for each lane of them, on it databases, the links to them, and the service.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use pgsluice::engine::embedded::Cluster;

use crate::observer::Observer;
use crate::plan::Way;
use crate::support::cluster::{cluster_dir, start_cluster};
use crate::support::proxy::{Link, Proxy};
use crate::support::service::{Service, signal};

/// Loads at a time: more than one, so that a slot that is lost leaves a service that still works, and is missed.
pub(crate) const SLOTS: usize = 3;
/// Few, so that they are soon reached.
const MAX_CONNECTIONS: u32 = 40;
/// The disk that can be filled.
const SMALL_DISK_BYTES: u64 = 32 << 20;

/// Short times, so that trials are; every one of them is a flag.
const FLAGS: [&str; 26] = [
    "--bulk-slots",
    "3",
    "--bulk-slot-wait-ms",
    "500",
    "--connect-timeout",
    "2",
    "--pool-timeout",
    "2",
    "--command-timeout",
    "2",
    "--lock-timeout",
    "1",
    "--client-stall",
    "4",
    "--shutdown-grace",
    "1",
    "--pool-size",
    "4",
    "--load-timeout",
    "60",
    // The traps know statements by their text, which comes only once where they are kept.
    "--statement-cache-size",
    "0",
    "--database-stall",
    "2",
    "--lease",
    "2",
];

/// A cluster, and the databases on it that trials use in turn.
pub(crate) struct Lane {
    server: Server,
    /// metadata and tables in one database, and in two
    sites: [Option<Site>; 2],
}

impl Lane {
    pub(crate) async fn open(name: String) -> Lane {
        Lane { server: Server::open(name).await, sites: [None, None] }
    }

    /// The server, and on it the site of that kind with a service that runs.
    pub(crate) async fn place(&mut self, two_databases: bool) -> (&mut Server, &mut Site) {
        let site = &mut self.sites[usize::from(two_databases)];
        let server = &mut self.server;
        if site.is_none() {
            let names = if two_databases { ["jobs", "tables"] } else { ["one", "one"] };
            *site = Some(Site::open(server, names).await);
        }
        (server, site.as_mut().unwrap())
    }
}

/// A PostgreSQL of its own.
pub(crate) struct Server {
    name: String,
    cluster: Option<Cluster>,
    pub(crate) url: String,
    /// nothing where none can be had
    pub(crate) small_disk: Option<PathBuf>,
}

impl Server {
    async fn open(name: String) -> Server {
        let mut server = Server { url: String::new(), name, cluster: None, small_disk: None };
        server.start().await;
        let mut admin = Observer::new(server.url.clone());
        admin.run("ALTER SYSTEM SET fsync = off").await;
        admin.run(&format!("ALTER SYSTEM SET max_connections = {MAX_CONNECTIONS}")).await;
        server.stop_at_once();
        server.start().await;
        server.small_disk = small_disk(&server.dir());
        if let Some(disk) = &server.small_disk {
            admin
                .run(&format!("CREATE TABLESPACE small LOCATION '{}'", disk.join("tablespace").display()))
                .await;
        }
        server
    }

    fn dir(&self) -> PathBuf {
        cluster_dir(&self.name)
    }

    fn url_of(&self, database: &str) -> String {
        let (server, _) = self.url.rsplit_once('/').unwrap();
        format!("{server}/{database}")
    }

    /// Immediate mode: nobody is waited for and nothing is written; the next start recovers.
    pub(crate) fn stop_at_once(&mut self) {
        // Its lock goes with it, so that it can be started again.
        self.cluster = None;
        if let Ok(text) = std::fs::read_to_string(self.pid_file()) {
            signal(text.lines().next().unwrap().parse().unwrap(), "QUIT");
        }
    }

    pub(crate) async fn start(&mut self) {
        let file = self.pid_file();
        while self.cluster.is_none() && file.exists() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let name = self.name.clone();
        let cluster = tokio::task::spawn_blocking(move || start_cluster(&name)).await.unwrap();
        self.url = cluster.url();
        self.cluster = Some(cluster);
    }

    fn pid_file(&self) -> PathBuf {
        self.dir().join("cluster/postmaster.pid")
    }
}

/// A file system of some megabytes, where root may mount one.
fn small_disk(dir: &Path) -> Option<PathBuf> {
    let disk = dir.join("small-disk");
    std::fs::create_dir_all(&disk).unwrap();
    let size = format!("size={SMALL_DISK_BYTES},mode=0777");
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", &size, "pgsluice-faults"])
        .arg(&disk)
        .stderr(Stdio::null())
        .status();
    if !mounted.is_ok_and(|status| status.success()) {
        return None;
    }
    let tablespace = disk.join("tablespace");
    std::fs::create_dir(&tablespace).unwrap();
    let owned = Command::new("chown").arg("--reference").arg(dir.join("cluster")).arg(&tablespace).status();
    assert!(owned.unwrap().success());
    Some(disk)
}

/// Databases, the links to them, and the service on them.
pub(crate) struct Site {
    pub(crate) metadata: Observer,
    pub(crate) target: Observer,
    /// to the metadata and to the target
    links: [Proxy; 2],
    urls: [String; 2],
    dir: PathBuf,
    pub(crate) service: Service,
    /// a second one on the same databases
    pub(crate) other: Option<Service>,
    /// how many services there have been
    services: u32,
}

impl Site {
    async fn open(server: &Server, names: [&str; 2]) -> Site {
        let mut admin = Observer::new(server.url.clone());
        for name in names {
            if admin.number(&format!("SELECT count(*) FROM pg_database WHERE datname = '{name}'")).await == 0 {
                admin.run(&format!("CREATE DATABASE {name}")).await;
            }
        }
        let direct = names.map(|name| server.url_of(name));
        let links = [Proxy::before(&direct[0]).await.unwrap(), Proxy::before(&direct[1]).await.unwrap()];
        let urls = [links[0].url(&direct[0]), links[1].url(&direct[1])];
        let dir = server.dir().join(format!("{}-{}", names[0], names[1]));
        std::fs::create_dir_all(dir.join("spool")).unwrap();
        let service = start(&urls, &dir, 1).await;
        let [metadata, target] = direct.map(Observer::new);
        Site { metadata, target, links, urls, dir, service, other: None, services: 1 }
    }

    /// Another service on the same databases.
    pub(crate) async fn start_another(&mut self) -> Service {
        self.services += 1;
        start(&self.urls, &self.dir, self.services).await
    }

    pub(crate) fn links(&self, way: Way) -> &[Proxy] {
        match way {
            Way::Metadata => &self.links[..1],
            Way::Target => &self.links[1..],
            Way::Both => &self.links[..],
        }
    }

    pub(crate) fn set_links(&self, way: Way, link: Link) {
        for proxy in self.links(way) {
            proxy.set(link);
        }
    }

    /// Every connection passes everything again.
    pub(crate) fn heal(&self) {
        self.links.iter().for_each(Proxy::heal);
    }

    pub(crate) fn spool_dir(&self) -> PathBuf {
        self.dir.join("spool")
    }

    /// What the service of this site said last.
    pub(crate) fn log_tail(&self) -> String {
        let mut said = Vec::new();
        for number in self.services.saturating_sub(2)..=self.services {
            let text = std::fs::read_to_string(log_path(&self.dir, number)).unwrap_or_default();
            said.extend(text.lines().map(|line| format!("{number}: {line}")));
        }
        said.split_off(said.len().saturating_sub(20)).join("\n      ")
    }
}

fn log_path(dir: &Path, number: u32) -> PathBuf {
    dir.join(format!("service-{number}.log"))
}

async fn start(urls: &[String; 2], dir: &Path, number: u32) -> Service {
    let mut command = Service::command();
    let log = File::create(log_path(dir, number)).unwrap();
    command.args(["--database-url", &urls[0], "--bulk-database-url", &urls[1]]).args(FLAGS);
    command.arg("--spool-dir").arg(dir.join("spool")).stderr(log);
    Service::spawn(command).await
}
