"""GET /v1/jobs/{id} at 50 connections, against Python drivers' pools with the same query.

    python bench/oltp.py [--rounds 5] [--seconds 10] [--shared 3,10]

Each is measured idle, and while two lineitem loads run; and so is pgsluice with both engines on one shared pool. Makes a PostgreSQL
cluster of its own and removes it at the end. Timings are reported and never judged; a wrong answer is an error.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import oltp_peers
import oltp_report
import program
from bouncer import Bouncer
from cluster import Cluster
from data import Maker
from peers import curl, expect_created
from program import clean_up_when_stopped, progress
from service import Service

HERE = Path(__file__).resolve().parent
JOBS = 10_000
LOADS = 2
LOADS_FIRST = ("--query-delay-max-us", "0")
BODY_BYTES = "pgsluice_body_received_bytes_total"


@dataclass
class Figures:
    """One measurement: queries per second, seconds of latency, and the cores that the load generator used."""

    rate: float
    p50: float
    p99: float
    cpu: float
    body_rate: float = 0.0
    """Bytes per second that the loads beside it took in."""


@dataclass
class Contestant:
    name: str
    title: str
    measure: object
    """A function of a `Stage`, which gives Figures."""
    flags: tuple = ()
    """Of the service."""
    shared: int | None = None
    """With both engines behind a PgBouncer of so many server connections."""
    idle: list = field(default_factory=list)
    loaded: list = field(default_factory=list)


@dataclass
class Stage:
    """What a measurement needs to know."""

    args: argparse.Namespace
    cluster: Cluster
    ids: Path
    service: Service


def arguments():
    parser = program.arguments(__doc__, "docs/BENCHMARKS-OLTP.md")
    parser.add_argument("--seconds", type=float, default=10, help="of each measurement")
    parser.add_argument("--connections", type=int, default=50, help="HTTP connections, and tasks of the Python peers")
    parser.add_argument("--pool", type=int, default=10, help="database connections of each pool")
    parser.add_argument("--shared", type=numbers, default=[LOADS + 1, 10], metavar="N,…", help="sizes of the shared pool")
    parser.add_argument("--scale", type=Decimal, default=Decimal(1), help="of TPC-H lineitem, for each load")
    return parser.parse_args()


def numbers(text):
    return [int(number) for number in text.split(",") if number]


def main():
    args = arguments()
    clean_up_when_stopped()
    contestants = [
        Contestant("pgsluice", "pgsluice, `GET /v1/jobs/{id}` over HTTP", by_wrk),
        Contestant("loads-first", "pgsluice, loads first", by_wrk, LOADS_FIRST),
        Contestant("asyncpg", "asyncpg pool, the query alone", by_python("asyncpg")),
        Contestant("psycopg", "psycopg 3 async pool, the query alone", by_python("psycopg")),
        Contestant("healthz", "(pgsluice, `GET /healthz`: no database)", by_wrk_without_database),
    ]
    contestants += [
        Contestant(f"shared-{size}", f"pgsluice, both engines on one pool of {size}", by_wrk, shared=size) for size in args.shared
    ]
    with Cluster(args.cluster_dir) as cluster:
        file = prepare(cluster, args)
        for number in range(1, args.rounds + 1):
            for contestant in contestants:
                take_turn(contestant, cluster, args, file, number)
        version = cluster.sql("SELECT 'PostgreSQL ' || current_setting('server_version')")
    text = oltp_report.markdown(contestants, args, version)
    args.out.write_text(text)
    print(text)


def prepare(cluster, args):
    """The file to load, a table for each load, and jobs to ask for."""
    file = Maker(args.data_bin, args.work_dir, cluster).generate("lineitem", args.scale, "csv")
    cluster.run_file(HERE / "schema.sql")
    cluster.sql(*(f"CREATE TABLE lineitem_{load} (LIKE lineitem INCLUDING ALL)" for load in range(LOADS)))
    # The schema is made by the service itself.
    with Service(args.bin, cluster, args.work_dir / "pgsluice-oltp.log"):
        pass
    cluster.sql(
        "INSERT INTO pgsluice.jobs (id, instance, target, table_name, state, format, mode, rows_received, rows_loaded, bytes_received, "
        "  bytes_decoded, timings_ms, backend_pid, backend_start, finished_at) "
        "SELECT gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 'public.orders', 'committed', 'csv', 'append', n, n, n * 80, n * 80, "
        "  '{\"queue\":0,\"client_wait\":412,\"encode\":760,\"database\":2900,\"commit\":4,\"total\":3105}', 1, 1, now() "
        f"FROM generate_series(1, {JOBS}) n",
        "VACUUM ANALYZE pgsluice.jobs",
    )
    ids = args.work_dir / "oltp-ids"
    ids.write_text(cluster.sql("SELECT id FROM pgsluice.jobs"))
    return file


def take_turn(contestant, cluster, args, file, number):
    flags = ["--pool-size", str(args.pool), "--max-overflow", "0", *contestant.flags]
    with contextlib.ExitStack() as stack:
        url = None
        if contestant.shared:
            url = stack.enter_context(Bouncer(cluster, contestant.shared)).url
            flags.append("--pgbouncer")
        service = stack.enter_context(Service(args.bin, cluster, args.work_dir / "pgsluice-oltp.log", flags, url))
        stage = Stage(args, cluster, args.work_dir / "oltp-ids", service)
        for figures, loads in [(contestant.idle, 0), (contestant.loaded, LOADS)]:
            with Loads(cluster, service, file, loads):
                figures.append(beside_loads(contestant.measure, stage))
            what = f"round {number}, {loads} loads: {contestant.name}"
            progress(f"{what} {figures[-1].rate:,.0f}/s, p99 {figures[-1].p99 * 1000:.2f} ms")


def beside_loads(measure, stage):
    """The measurement, with what the loads came to meanwhile."""
    began, taken = time.monotonic(), stage.service.counter(BODY_BYTES)
    figures = measure(stage)
    figures.body_rate = (stage.service.counter(BODY_BYTES) - taken) / (time.monotonic() - began)
    return figures


class Loads:
    """A context manager: as long as it is open, so many loads run, one after the other into each table."""

    def __init__(self, cluster, service, file, count):
        self.cluster, self.service, self.file = cluster, service, file
        self.over, self.started = threading.Event(), [threading.Event() for _ in range(count)]
        self.threads = [threading.Thread(target=self._run, args=(number,)) for number in range(count)]
        self.failure = None

    def __enter__(self):
        for table in range(LOADS):
            self.cluster.sql(f"TRUNCATE lineitem_{table}")
        self.cluster.sql("CHECKPOINT")
        for thread in self.threads:
            thread.start()
        for started in self.started:
            started.wait()

    def __exit__(self, *_):
        self.over.set()
        for thread in self.threads:
            thread.join()
        if self.failure:
            raise self.failure

    def _run(self, number):
        while not self.over.is_set():
            command = curl(self.service.base, f"lineitem_{number}", "csv", self.file)
            # What is over is not worth finishing.
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as load:
                while load.poll() is None and not self.over.wait(0.1):
                    self.started[number].set()
                if self.over.is_set():
                    load.kill()
                    return
                try:
                    expect_created(load.stdout.read(), self._rows())
                except RuntimeError as error:
                    self.failure = error
                    self.started[number].set()
                    return
            self.cluster.sql(f"TRUNCATE lineitem_{number}")

    def _rows(self):
        if not hasattr(self, "rows"):
            with self.file.open("rb") as file:
                self.rows = sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b"")) - 1
        return self.rows


def by_wrk(stage):
    return wrk(stage, stage.service.base, stage.ids)


def by_wrk_without_database(stage):
    """What wrk and HTTP can do at most: the load generator is no bottleneck as long as this is far above."""
    return wrk(stage, stage.service.base + "/healthz", ids="")


def wrk(stage, url, ids):
    command = ["wrk", "-t", "1", "-c", str(stage.args.connections), "-d", f"{stage.args.seconds:.0f}s"]
    # An answer that takes long is to be counted as such, and not as an error.
    command += ["--timeout", "60s", "-s", str(HERE / "oltp.lua"), url]
    env = os.environ | {"PGSLUICE_BENCH_IDS": str(ids)}
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as process:
        printed = process.stdout.read()
        # Its own use and nobody else's: loads end meanwhile, too.
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"wrk: {printed}")
    line = next(line for line in printed.splitlines() if line.startswith("RESULT"))
    requests, duration, p50, p99, errors = map(int, line.split()[1:])
    if errors:
        raise RuntimeError(f"{errors} of {requests} requests failed:\n{printed}")
    seconds = duration / 1e6
    return Figures(requests / seconds, p50 / 1e6, p99 / 1e6, (used.ru_utime + used.ru_stime) / seconds)


def by_python(peer):
    def measure(stage):
        args = stage.args
        command = [sys.executable, oltp_peers.__file__, peer, stage.ids, args.seconds, args.connections, args.pool]
        done = subprocess.run(list(map(str, command)), env=stage.cluster.environment(), capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"{peer}: {done.stderr}")
        return Figures(**json.loads(done.stdout))

    return measure


if __name__ == "__main__":
    main()
