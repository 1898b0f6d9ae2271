//! A private PostgreSQL cluster under the data directory, for whoever has no server at hand.
//!
//! It listens on a unix socket in a directory that only its owner may enter, and on no port; so no other PostgreSQL on the machine is
//! touched. The server refuses to run as root: started by root, it runs as an unprivileged user.

use std::ffi::OsStr;
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::config;

/// The cluster's database.
const DATABASE: &str = "pgsluice";
/// The cluster's superuser. Not named like the database: `search_path` begins with the schema of the user's name, and `pgsluice` is where
/// the service keeps its own tables.
const SUPERUSER: &str = "postgres";

/// `sockaddr_un` holds 108 bytes, with the name that PostgreSQL adds and a NUL.
const SOCKET_DIR_BYTES_MAX: usize = 107 - "/.s.PGSQL.5432.lock".len();

/// What can go wrong with the cluster.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// No server programs on this machine.
    #[error(
        "no PostgreSQL server programs (initdb, pg_ctl, postgres) were found on PATH or in /usr/lib/postgresql/*/bin: install them \
         (Debian: apt-get install postgresql), or pass --database-url"
    )]
    NoPrograms,
    /// The cluster is of a version of which there are no programs here.
    #[error("the embedded cluster was made by PostgreSQL {version}, and only these programs are here: {found:?}")]
    Version {
        /// the cluster's
        version: String,
        /// where programs of other versions are
        found: Vec<PathBuf>,
    },
    /// Another service uses this data directory.
    #[error("the data directory {0} is in use by another pgsluice")]
    InUse(PathBuf),
    /// The user to run as does not exist.
    #[error("there is no user {0:?} to run PostgreSQL as")]
    NoUser(String),
    /// A directory cannot be used.
    #[error("{path}: {error}")]
    Directory {
        /// which one
        path: PathBuf,
        /// why
        error: io::Error,
    },
    /// A program of PostgreSQL's failed.
    #[error("{program} failed: {output}")]
    Program {
        /// which one
        program: &'static str,
        /// what it said
        output: String,
    },
}

/// A running cluster. It goes on running when this is dropped: [`stop`](Self::stop) it.
#[derive(Debug)]
pub struct Cluster {
    layout: Layout,
    /// Held as long as the service lives: two services must not share a cluster.
    _lock: File,
}

#[derive(Debug)]
struct Layout {
    programs: PathBuf,
    data: PathBuf,
    sockets: PathBuf,
    log: PathBuf,
    owner: Option<Owner>,
}

/// The user that the server runs as, when that is not us.
#[derive(Debug, Clone, Copy)]
struct Owner {
    uid: u32,
    gid: u32,
}

impl Cluster {
    /// Makes the cluster if there is none, and starts it if it does not run. One that an earlier service was killed away from still
    /// runs, and is taken over.
    ///
    /// # Errors
    /// See [`EmbeddedError`].
    pub fn start(settings: &config::Embedded) -> Result<Cluster, EmbeddedError> {
        let owner = owner(settings)?;
        let root = &settings.data_dir;
        make_dir(root, 0o755, None)?;
        let root = fs::canonicalize(root).map_err(|error| directory(root, error))?;
        let lock = lock(&root)?;
        let data = root.join("cluster");
        let layout = Layout {
            programs: find_programs(&settings.search_path, &data)?,
            sockets: socket_dir(&root, owner)?,
            log: root.join("postgresql.log"),
            data,
            owner,
        };
        if !layout.data.join("PG_VERSION").exists() {
            layout.create()?;
        }
        if !layout.is_running() {
            layout.launch()?;
        }
        layout.create_database()?;
        Ok(Cluster { layout, _lock: lock })
    }

    /// The URL of the cluster's database.
    pub fn url(&self) -> String {
        let host: String = self
            .layout
            .sockets
            .to_string_lossy()
            .bytes()
            .map(|byte| match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' => char::from(byte).to_string(),
                _ => format!("%{byte:02X}"),
            })
            .collect();
        format!("postgresql://{SUPERUSER}@{host}:5432/{DATABASE}")
    }

    /// Stops the server: sessions are ended, nothing committed is lost.
    ///
    /// # Errors
    /// `pg_ctl` could not.
    pub fn stop(self) -> Result<(), EmbeddedError> {
        self.layout.stop()
    }
}

impl Layout {
    /// `initdb`, into a directory beside that is renamed only when it is complete: an interrupted first start leaves no half cluster.
    fn create(&self) -> Result<(), EmbeddedError> {
        let fresh = self.data.with_extension("new");
        if fresh.exists() {
            fs::remove_dir_all(&fresh).map_err(|error| directory(&fresh, error))?;
        }
        make_dir(&fresh, 0o700, self.owner)?;
        let mut initdb = self.program("initdb");
        initdb
            .args(["--username", SUPERUSER, "--encoding", "UTF8", "--locale", "C"])
            .args(["--auth-local", "trust", "--auth-host", "reject", "--pgdata"])
            .arg(&fresh);
        run("initdb", initdb).map_err(|error| self.with_hint(error))?;
        let settings = format!(
            "\n# pgsluice: reachable through a unix socket only, sized for COPY\n\
             listen_addresses = ''\nunix_socket_permissions = 0700\nunix_socket_directories = '{}'\nport = 5432\n\
             max_wal_size = 4GB\njit = off\nlog_min_messages = warning\ntimezone = 'UTC'\n",
            self.sockets.display().to_string().replace('\'', "''"),
        );
        let file = fresh.join("postgresql.conf");
        let append = |path: &Path| {
            let mut text = fs::read_to_string(path)?;
            text.push_str(&settings);
            fs::write(path, text)
        };
        append(&file).map_err(|error| directory(&file, error))?;
        fs::rename(&fresh, &self.data).map_err(|error| directory(&self.data, error))
    }

    fn launch(&self) -> Result<(), EmbeddedError> {
        let log = File::options().create(true).append(true).open(&self.log);
        let log = log.map_err(|error| directory(&self.log, error))?;
        let own = |owner: Owner| chown(&self.log, Some(owner.uid), Some(owner.gid));
        drop(log);
        self.owner.map_or(Ok(()), own).map_err(|error| directory(&self.log, error))?;
        let mut start = self.pg_ctl("start");
        // The socket's place follows the data directory when that is moved.
        let sockets = self.sockets.display().to_string().replace('\'', "'\\''");
        start
            .args(["--wait", "--timeout", "60", "--log"])
            .arg(&self.log)
            .args(["--options", &format!("-c unix_socket_directories='{sockets}'")]);
        run("pg_ctl start", start).map_err(|error| self.with_log(error))
    }

    /// Root may go where the user that runs the server may not.
    fn with_hint(&self, error: EmbeddedError) -> EmbeddedError {
        match error {
            EmbeddedError::Program { program, output } if self.owner.is_some() && output.contains("ermission denied") => {
                let hint = "PostgreSQL runs as an unprivileged user, who must be able to enter every directory above --data-dir";
                EmbeddedError::Program { program, output: format!("{output} ({hint})") }
            }
            other => other,
        }
    }

    /// The server's own log says why it did not start; `pg_ctl` only says that it did not.
    fn with_log(&self, error: EmbeddedError) -> EmbeddedError {
        let EmbeddedError::Program { program, output } = error else {
            return error;
        };
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let tail: Vec<&str> = log.lines().rev().take(5).collect();
        let tail: Vec<&str> = tail.into_iter().rev().collect();
        EmbeddedError::Program {
            program,
            output: format!("{output} {}: {}", self.log.display(), tail.join(" | ")),
        }
    }

    fn create_database(&self) -> Result<(), EmbeddedError> {
        let mut createdb = self.program("createdb");
        createdb.arg("--host").arg(&self.sockets);
        createdb.args(["--port", "5432", "--username", SUPERUSER, DATABASE]);
        match run("createdb", createdb) {
            Err(EmbeddedError::Program { output, .. }) if output.contains("already exists") => Ok(()),
            other => other,
        }
    }

    fn is_running(&self) -> bool {
        self.pg_ctl("status").output().is_ok_and(|output| output.status.success())
    }

    fn stop(&self) -> Result<(), EmbeddedError> {
        let mut stop = self.pg_ctl("stop");
        stop.args(["--wait", "--timeout", "60", "--mode", "fast"]);
        run("pg_ctl stop", stop)
    }

    fn pg_ctl(&self, verb: &str) -> Command {
        let mut command = self.program("pg_ctl");
        command.arg(verb).arg("--pgdata").arg(&self.data);
        command
    }

    fn program(&self, name: &str) -> Command {
        use std::os::unix::process::CommandExt;
        let mut command = Command::new(self.programs.join(name));
        // Messages in English, which `create_database` reads; a working directory that the other user may enter; a process group of
        // its own, so that Ctrl-C reaches the service alone, which then stops the server in order.
        command.env("LC_ALL", "C").current_dir("/").process_group(0);
        for variable in ["PGHOST", "PGPORT", "PGUSER", "PGDATABASE", "PGDATA", "PGPASSWORD", "PGOPTIONS", "PGSERVICE"] {
            command.env_remove(variable);
        }
        if let Some(owner) = self.owner {
            command.uid(owner.uid).gid(owner.gid);
        }
        command
    }
}

/// Runs a program to its end.
fn run(program: &'static str, mut command: Command) -> Result<(), EmbeddedError> {
    let failed = |output: String| EmbeddedError::Program { program, output };
    let output = command.output().map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    Err(failed(format!("{}: {}", output.status, String::from_utf8_lossy(&said).trim())))
}

/// The programs' directory: on PATH, else the newest of Debian's; for a cluster that is there, of the version that made it.
fn find_programs(search_path: &OsStr, data: &Path) -> Result<PathBuf, EmbeddedError> {
    let found = program_dirs(search_path);
    let Ok(version) = fs::read_to_string(data.join("PG_VERSION")) else {
        return found.into_iter().next().ok_or(EmbeddedError::NoPrograms);
    };
    let version = version.trim();
    let fitting = found.iter().find(|dir| major_version(dir).as_deref() == Some(version));
    match (fitting, found.is_empty()) {
        (Some(dir), _) => Ok(dir.clone()),
        (None, true) => Err(EmbeddedError::NoPrograms),
        (None, false) => Err(EmbeddedError::Version { version: version.to_owned(), found }),
    }
}

fn program_dirs(search_path: &OsStr) -> Vec<PathBuf> {
    let complete = |dir: &PathBuf| ["initdb", "pg_ctl", "postgres", "createdb"].iter().all(|name| dir.join(name).exists());
    let on_path = std::env::split_paths(search_path).map(|dir| fs::canonicalize(dir.join("pg_ctl")));
    let on_path = on_path.flatten().filter_map(|program| program.parent().map(Path::to_owned));
    let mut debian: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .collect();
    debian.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    on_path.chain(debian.into_iter().map(|(_, dir)| dir)).filter(complete).collect()
}

/// `postgres (PostgreSQL) 15.18 (Debian …)` → `15`
fn major_version(programs: &Path) -> Option<String> {
    let output = Command::new(programs.join("postgres")).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let number = text.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
    let end = number.find(|c: char| !c.is_ascii_digit()).unwrap_or(number.len());
    Some(number[..end].to_owned())
}

fn owner(settings: &config::Embedded) -> Result<Option<Owner>, EmbeddedError> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    match &settings.run_as {
        Some(name) => user(name).map(Some).ok_or_else(|| EmbeddedError::NoUser(name.clone())),
        None => ["postgres", "nobody"]
            .into_iter()
            .find_map(user)
            .map(Some)
            .ok_or_else(|| EmbeddedError::NoUser("postgres".to_owned())),
    }
}

/// Asks the system's user database by way of `id`, which knows more of them than `/etc/passwd`.
fn user(name: &str) -> Option<Owner> {
    let number = |flag: &str| {
        let output = Command::new("id").args([flag, "--", name]).output().ok()?;
        String::from_utf8(output.stdout).ok()?.trim().parse::<u32>().ok()
    };
    Some(Owner { uid: number("-u").filter(|uid| *uid != 0)?, gid: number("-g")? })
}

/// `run/` under the data directory, unless that path is too long for a socket or has characters that mean something in PostgreSQL's list
/// of directories: then one in the temporary directory, by a name that
/// follows from the data directory.
fn socket_dir(root: &Path, owner: Option<Owner>) -> Result<PathBuf, EmbeddedError> {
    let near = root.join("run");
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '_' | '.' | '+');
    let usable = near.to_str().is_some_and(|path| path.len() <= SOCKET_DIR_BYTES_MAX && path.chars().all(plain));
    let dir = if usable {
        near
    } else {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let mut hasher = DefaultHasher::new();
        root.hash(&mut hasher);
        PathBuf::from(format!("/tmp/pgsluice-{:016x}", hasher.finish()))
    };
    make_dir(&dir, 0o700, owner)?;
    let meta = fs::symlink_metadata(&dir).map_err(|error| directory(&dir, error))?;
    let expected = owner.map_or_else(|| rustix::process::geteuid().as_raw(), |owner| owner.uid);
    if !meta.is_dir() || meta.uid() != expected {
        let error = io::Error::new(io::ErrorKind::PermissionDenied, "belongs to somebody else");
        return Err(directory(&dir, error));
    }
    Ok(dir)
}

fn make_dir(path: &Path, mode: u32, owner: Option<Owner>) -> Result<(), EmbeddedError> {
    let make = || {
        if path.is_dir() {
            return Ok(());
        }
        fs::create_dir_all(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
        owner.map_or(Ok(()), |owner| chown(path, Some(owner.uid), Some(owner.gid)))
    };
    make().map_err(|error| directory(path, error))
}

fn lock(root: &Path) -> Result<File, EmbeddedError> {
    let path = root.join("lock");
    let file = File::create(&path).map_err(|error| directory(&path, error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(EmbeddedError::InUse(root.to_owned())),
        Err(TryLockError::Error(error)) => Err(directory(&path, error)),
    }
}

fn directory(path: &Path, error: io::Error) -> EmbeddedError {
    EmbeddedError::Directory { path: path.to_owned(), error }
}
