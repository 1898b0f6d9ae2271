//! The service under test: the binary, as a process.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::cluster;

pub(crate) struct Service {
    child: Child,
    address: String,
}

impl Service {
    /// Starts it on a free port and waits until it listens.
    pub(crate) async fn start(database_url: &str, flags: &[&str]) -> Service {
        let mut command = Service::command();
        command.args(["--database-url", database_url]).args(flags);
        Service::spawn(command).await
    }

    /// `pgsluice serve` on a free port.
    pub(crate) fn command() -> Command {
        Service::command_logging("warn")
    }

    /// `pgsluice serve` on a free port, with this filter for its log.
    pub(crate) fn command_logging(filter: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pgsluice"));
        command.args(["serve", "--listen", "127.0.0.1:0", "--log", filter]);
        command.env_remove("DATABASE_URL");
        command
    }

    pub(crate) async fn spawn(command: Command) -> Service {
        tokio::task::spawn_blocking(|| Service::spawn_blocking(command)).await.unwrap()
    }

    fn spawn_blocking(mut command: Command) -> Service {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        cluster::guard(child.id());
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut addresses = lines.map_while(Result::ok).filter_map(|line| Some(line.strip_prefix("listening on ")?.to_owned()));
        let address = addresses.next().expect("the service ended before it listened");
        Service { child, address }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.address)
    }

    /// `127.0.0.1:port`
    pub(crate) fn address(&self) -> &str {
        self.address.split_once("://").unwrap().1
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    /// Waits for the process to end by itself; its exit code.
    pub(crate) async fn ended(&mut self) -> Option<i32> {
        for _ in 0..600 {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the service did not end within 30 s");
    }

    /// SIGKILL, and the process is gone when this returns.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Memory in use now, in KiB.
    pub(crate) fn rss_kib(&self) -> u64 {
        self.status_kib("VmRSS:")
    }

    /// The most memory that was in use at any time, in KiB.
    pub(crate) fn peak_rss_kib(&self) -> u64 {
        self.status_kib("VmHWM:")
    }

    fn status_kib(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a signal to a process.
pub(crate) fn signal(pid: u32, name: &str) {
    // The shell's own: a minimal machine has no other.
    let status = Command::new("sh").args(["-c", "kill -s \"$0\" \"$1\"", name, &pid.to_string()]).status().unwrap();
    assert!(status.success(), "kill -s {name} {pid}");
}
