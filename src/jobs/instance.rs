//! Who this instance is, and how to tell that another one is dead.

use std::fs;
use std::path::Path;

use uuid::Uuid;

/// One run of the service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) id: Uuid,
    /// boot and pid namespace: instances that share them see each other's processes
    pub(super) host: String,
    pub(super) pid: i32,
    /// in clock ticks since boot
    pub(super) process_start: i64,
}

impl Identity {
    /// A new identity for this process.
    pub(super) fn new() -> Identity {
        let pid = std::process::id().cast_signed();
        Identity {
            id: Uuid::now_v7(),
            host: host(),
            pid,
            process_start: process_start(pid).unwrap_or_default(),
        }
    }

    /// The process is known to be gone. Only somebody on the same host can know; everybody else waits for the lease to run out.
    pub(super) fn is_gone(&self, me: &Identity) -> bool {
        self.host == me.host && process_start(self.pid) != Some(self.process_start)
    }
}

fn host() -> String {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id");
    let namespace = fs::read_link("/proc/self/ns/pid");
    match (boot, namespace) {
        (Ok(boot), Ok(namespace)) => format!("{} {}", boot.trim(), namespace.display()),
        // Nobody else may take us for a neighbour then.
        _ => format!("unknown {}", Uuid::now_v7()),
    }
}

/// Field 22 of `/proc/<pid>/stat`; the name before it is in parentheses and may hold anything.
fn process_start(pid: i32) -> Option<i64> {
    let stat = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).ok()?;
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_ascii_whitespace();
    // A zombie has ended; its parent just has not looked yet.
    if fields.next()? == "Z" {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_live_process_is_not_gone_and_a_dead_one_is() {
        let me = Identity::new();
        assert!(!me.is_gone(&me));

        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = child.id().cast_signed();
        let other = Identity {
            id: Uuid::now_v7(),
            pid,
            process_start: process_start(pid).unwrap(),
            ..me.clone()
        };
        assert!(!other.is_gone(&me));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(other.is_gone(&me));

        let elsewhere = Identity { host: "another".to_owned(), ..other };
        assert!(!elsewhere.is_gone(&me));
    }
}
