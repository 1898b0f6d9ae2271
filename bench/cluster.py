"""A throw-away PostgreSQL cluster on a unix socket of its own."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from urllib.parse import quote

SETTINGS = {
    # What the loaders share: room for a whole run without a checkpoint in its middle.
    "shared_buffers": "1GB",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "30min",
    # Keep used WAL segments for the next run: otherwise some runs would have to make new ones.
    "min_wal_size": "4GB",
    # As durable as a server in production.
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    # Nothing may run beside a timed load, and no locale or zone of the machine may matter.
    "autovacuum": "off",
    "jit": "off",
    "timezone": "UTC",
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
}
DATABASE = "bench"
PORT = "5432"
START_SECONDS = 60
STOP_SECONDS = 60


class Cluster:
    """A context manager: the server runs inside the `with` block and leaves nothing behind."""

    def __init__(self, parent=None):
        self.bindir = find_bindir()
        self.owner = unprivileged_user()
        self.root = Path(tempfile.mkdtemp(prefix="pgsluice-bench-", dir=parent))
        self.server = None

    def __enter__(self):
        try:
            self._create()
            self._start()
            self.sql(f"CREATE DATABASE {DATABASE}", database="postgres")
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(self, *_):
        self._remove()

    @property
    def url(self):
        return f"postgresql://bench@{quote(str(self.root), safe='')}:{PORT}/{DATABASE}"

    @property
    def psql(self):
        """The command line that every use of psql starts with."""
        program = self.bindir / "psql"
        return [str(program) if program.exists() else "psql", "-XqAt", "-v", "ON_ERROR_STOP=1"]

    def environment(self, database=DATABASE):
        """The caller's environment, with libpq's variables pointing here and nowhere else."""
        foreign = ("PG", "DATABASE_URL")
        env = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        ours = {"PGHOST": self.root, "PGPORT": PORT, "PGUSER": "bench", "PGDATABASE": database}
        return env | {name: str(value) for name, value in ours.items()}

    def sql(self, *statements, database=DATABASE):
        """Runs each statement in its own transaction; returns what they print."""
        commands = [word for statement in statements for word in ("-c", statement)]
        done = subprocess.run(
            self.psql + commands, env=self.environment(database), capture_output=True, text=True
        )
        if done.returncode != 0:
            raise RuntimeError(f"psql: {done.stderr.strip()}")
        return done.stdout.strip()

    def run_file(self, path):
        command = [*self.psql, "-f", str(path)]
        subprocess.run(command, env=self.environment(), check=True)

    def _create(self):
        if self.owner:
            os.chown(self.root, self.owner.pw_uid, self.owner.pw_gid)
        initdb = [self.bindir / "initdb", "-D", self.root / "data", "-U", "bench"]
        options = ["-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
        done = subprocess.run(
            initdb + options, **self.as_owner(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        if done.returncode != 0:
            raise RuntimeError(f"initdb failed:\n{done.stdout.decode(errors='replace')}")

    def _start(self):
        command = [self.bindir / "postgres", "-D", self.root / "data", "-k", self.root, "-p", PORT]
        for name, value in SETTINGS.items():
            command += ["-c", f"{name}={value}"]
        self.log = self.root / "server.log"
        with self.log.open("wb") as log:
            # A session of its own: Ctrl-C must reach us first, so that we stop it in order.
            self.server = subprocess.Popen(
                command, **self.as_owner(), stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self.server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL did not start:\n{self.log.read_text()}")
            time.sleep(0.1)

    def _answers(self):
        try:
            return self.sql("SELECT true", database="postgres") == "t"
        except RuntimeError:
            return False

    def as_owner(self):
        """The server refuses to run as root: these arguments of Popen make it somebody else."""
        place = {"cwd": self.root}
        if not self.owner:
            return place
        return place | {"user": self.owner.pw_uid, "group": self.owner.pw_gid, "extra_groups": []}

    def _remove(self):
        if self.server:
            self.server.send_signal(signal.SIGINT)
            try:
                self.server.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.server.send_signal(signal.SIGQUIT)
                self.server.wait()
        shutil.rmtree(self.root, ignore_errors=True)


def find_bindir():
    """The folder of PostgreSQL's server programs: from PATH, pg_config, or Debian's own place."""
    for candidate in candidate_bindirs():
        if (candidate / "initdb").exists() and (candidate / "postgres").exists():
            return candidate
    raise RuntimeError("no PostgreSQL server programs (initdb, postgres) on this machine")


def candidate_bindirs():
    initdb = shutil.which("initdb")
    if initdb:
        yield Path(initdb).resolve().parent
    if shutil.which("pg_config"):
        shown = subprocess.run(["pg_config", "--bindir"], capture_output=True, text=True)
        yield Path(shown.stdout.strip())
    debian = Path("/usr/lib/postgresql").glob("[0-9]*/bin")
    yield from sorted(debian, key=lambda bindir: float(bindir.parent.name), reverse=True)


def unprivileged_user():
    """Whom to run the server as: nobody else unless we are root."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")
