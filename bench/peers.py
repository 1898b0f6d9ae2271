"""Who is compared, and how one load of each is run and timed."""

import contextlib
import importlib
import json
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyloads
from data import Input
from service import Service

CONTENT_TYPE = {"csv": "text/csv", "arrow": "application/vnd.apache.arrow.stream"}
COPY_OPTIONS = {"csv": "FORMAT csv, HEADER", "binary": "FORMAT binary"}


@dataclass
class Run:
    """What one load took, in seconds."""

    seconds: float
    client_cpu: float
    service_cpu: float | None = None


class Bench:
    """What the peers run against; pgsluice is started when it is first asked for."""

    def __init__(self, cluster, binary, folder):
        self.cluster, self.binary, self.folder = cluster, binary, folder

    @contextlib.contextmanager
    def services(self):
        """One service per body format, so that each one's peak memory is that format's own."""
        self.running = {}
        with contextlib.ExitStack() as self.stack:
            yield self.running

    def service(self, kind):
        if kind not in self.running:
            log = self.folder / f"pgsluice-{kind}.log"
            service = Service(self.binary, self.cluster, log)
            self.running[kind] = self.stack.enter_context(service)
        return self.running[kind]


@dataclass(frozen=True)
class Peer:
    name: str
    title: str
    kind: str
    """Which of the data set's files it loads."""
    missing: Callable[[Bench], str | None]
    """Why it cannot run here, if it cannot."""
    load: Callable[[Bench, str, Input], Run]


def pgsluice(name, title, kind):
    def missing(bench):
        if not bench.binary.exists():
            return f"{bench.binary} is not there"
        return None if shutil.which("curl") else "curl is not installed"

    def load(bench, table, source):
        service = bench.service(kind)
        before = service.cpu_seconds()
        run, answer = timed(
            curl(service.base, table, kind, source.path), bench.cluster.environment()
        )
        run.service_cpu = service.cpu_seconds() - before
        expect_created(answer, source.rows)
        return run

    return Peer(name, title, kind, missing, load)


def curl(base, table, kind, path, options=""):
    # -q and --noproxy: nothing of the caller's settings.
    command = ["curl", "-q", "-sS", "--noproxy", "*", "-w", "\\n%{http_code}"]
    command += ["-X", "POST", "-T", str(path), "-H", f"Content-Type: {CONTENT_TYPE[kind]}"]
    return [*command, f"{base}/v1/tables/{table}/loads{options}"]


def expect_created(answer, rows):
    body, _, status = answer.rpartition("\n")
    if status != "201" or json.loads(body)["rows_loaded"] != rows:
        raise RuntimeError(f"pgsluice answered {status}: {body}")


def psql(name, title, kind):
    def load(bench, table, source):
        copy = f"\\copy {table} FROM '{source.path}' ({COPY_OPTIONS[kind]})"
        return timed([*bench.cluster.psql, "-c", copy], bench.cluster.environment())[0]

    return Peer(name, title, kind, lambda bench: None, load)


def python(name, title, kind):
    def missing(bench):
        try:
            for module in pyloads.LOADS[name].modules:
                importlib.import_module(module)
        except ImportError as error:
            return str(error)
        return None

    def load(bench, table, source):
        command = [sys.executable, pyloads.__file__, name, table, str(source.path)]
        return Run(**json.loads(output(command, bench.cluster.environment())))

    return Peer(name, title, kind, missing, load)


def timed(command, env):
    """Runs a program from its start to its end: for psql and curl that is the load."""
    start, cpu = time.perf_counter(), children_cpu()
    printed = output(command, env)
    return Run(time.perf_counter() - start, children_cpu() - cpu), printed


def output(command, env):
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{Path(command[0]).name}: {last_line(done.stderr)}")
    return done.stdout


def last_line(text):
    return (text.strip().splitlines() or ["failed without a word"])[-1]


def children_cpu():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


PEERS = [
    pgsluice("pgsluice_csv", "pgsluice, CSV body", "csv"),
    pgsluice("pgsluice_arrow", "pgsluice, Arrow stream body", "arrow"),
    psql("psql_csv", "`psql \\copy`, CSV", "csv"),
    psql("psql_binary", "`psql \\copy`, ready-made binary file", "binary"),
    python("psycopg_copy", "psycopg `copy.write`, raw CSV", "csv"),
    python("psycopg_rows", "psycopg `copy.write_row`", "csv"),
    python("asyncpg_records", "asyncpg `copy_records_to_table`", "slice"),
    python("adbc_ingest", "ADBC ingest, Arrow CSV reader", "csv"),
    python("psycopg_insert", "psycopg `INSERT`, 1,000 rows each", "slice"),
]
