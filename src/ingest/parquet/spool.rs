//! Bodies that have to be whole before they can be read, kept on disk in files without a name: whatever way a load ends, also with
//! SIGKILL, the operating system takes its file back.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::config;
use crate::error::SpoolError;

/// The disk space that all loads of this process share.
#[derive(Debug, Clone)]
pub struct Spools(Arc<Space>);

#[derive(Debug)]
struct Space {
    settings: config::Spool,
    used: AtomicU64,
}

impl Spools {
    /// Room for bodies, none of it in use.
    pub fn new(settings: config::Spool) -> Spools {
        Spools(Arc::new(Space { settings, used: AtomicU64::new(0) }))
    }

    /// An empty file for one body, which nobody else can open.
    pub(super) fn open(&self) -> Result<Spool, SpoolError> {
        let dir = &self.0.settings.dir;
        let file = tempfile::tempfile_in(dir);
        let file = file.map_err(|error| failure(&error, format!("{}: {error}", dir.display())))?;
        Ok(Spool { space: Arc::clone(&self.0), file, bytes: 0 })
    }
}

/// One body on disk.
#[derive(Debug)]
pub(super) struct Spool {
    space: Arc<Space>,
    file: File,
    bytes: u64,
}

impl Spool {
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Keeps the next piece of the body.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), SpoolError> {
        let config::Spool { bytes_max, total_bytes_max, .. } = self.space.settings;
        let more = bytes.len() as u64;
        if self.bytes + more > bytes_max {
            return Err(SpoolError::TooLarge { limit: bytes_max });
        }
        let within = |used: u64| used.checked_add(more).filter(|sum| *sum <= total_bytes_max);
        if self.space.used.fetch_update(Relaxed, Relaxed, within).is_err() {
            let reason = format!("all bodies together may have {total_bytes_max} bytes (--spool-total-bytes-max); try again later");
            return Err(SpoolError::Full(reason));
        }
        self.bytes += more;
        self.file.write_all(bytes).map_err(|error| failure(&error, error.to_string()))
    }

    /// Fills `bytes` with what stands at `offset`.
    pub(super) fn read(&self, offset: u64, bytes: &mut [u8]) -> Result<(), SpoolError> {
        self.file.read_exact_at(bytes, offset).map_err(|error| SpoolError::Failed(error.to_string()))
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        self.space.used.fetch_sub(self.bytes, Relaxed);
    }
}

fn failure(error: &io::Error, reason: String) -> SpoolError {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => SpoolError::Full(reason),
        _ => SpoolError::Failed(reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spools(dir: &std::path::Path) -> Spools {
        Spools::new(config::Spool { dir: dir.to_owned(), bytes_max: 8, total_bytes_max: 10 })
    }

    #[test]
    fn space_is_limited_and_given_back() {
        let dir = tempfile::tempdir().unwrap();
        let spools = spools(dir.path());
        let mut one = spools.open().unwrap();
        one.push(b"1234").unwrap();
        assert!(matches!(one.push(b"56789"), Err(SpoolError::TooLarge { limit: 8 })));
        let mut other = spools.open().unwrap();
        assert!(matches!(other.push(b"1234567"), Err(SpoolError::Full(_))));
        drop(one);
        other.push(b"1234567").unwrap();
        let mut read = [0; 3];
        other.read(4, &mut read).unwrap();
        assert_eq!(&read, b"567");
        assert!(matches!(other.read(5, &mut read), Err(SpoolError::Failed(_))));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "a file has a name");
        assert_eq!(spools.0.used.load(Relaxed), 7);
        drop(other);
        assert_eq!(spools.0.used.load(Relaxed), 0);
    }

    #[test]
    fn a_full_device_and_a_missing_directory_are_told_apart() {
        let full = failure(&io::Error::from(ErrorKind::StorageFull), String::new());
        assert!(matches!(full, SpoolError::Full(_)));
        let missing = spools(std::path::Path::new("/nowhere")).open();
        assert!(matches!(missing, Err(SpoolError::Failed(reason)) if reason.contains("/nowhere")));
    }
}
