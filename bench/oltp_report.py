"""The OLTP results as Markdown."""

import os
import platform
import re
import shlex
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from cluster import SETTINGS
from report import package_versions, program_version, table

CAVEATS = """\
## How to read this

- pgsluice answers over HTTP with the whole job as JSON; `wrk` asks, with one thread. The Python peers ask PostgreSQL directly, from as
  many tasks, and do nothing with the row: no HTTP, no JSON. Every pool has the same number of database connections, except the shared
  ones, which say theirs.
- pgsluice asks for the jobs that are asked for at the same time in one query ([POOLS.md](POOLS.md)); the tasks of the Python peers ask each by
  themselves, as drivers do.
- **× asyncpg** is the ratio of the medians of the rounds, under the same conditions: above 1 is more throughput. *p50* and *p99* are the
  medians of the rounds' percentiles.
- *With two loads*: two TPC-H lineitem CSVs are being loaded through the pgsluice of the measurement, one after the other into a table each,
  for as long as it takes. The Python peers are measured beside the same two loads. *Loads, MB/s* is how fast they went meanwhile, both
  together: pgsluice slows them down while its own queries are late ([POOLS.md](POOLS.md#short-queries-go-first)), and knows nothing of
  the Python peers'. *Loads first* is pgsluice with `--query-delay-max-us 0`, which never does.
- **Is the load generator the bottleneck?** *Generator, cores* is how much of a core `wrk` used; it has one thread, so it is one only near
  1.0. `GET /healthz` shows what `wrk` and HTTP come to without a database. A Python peer is its own generator: that is how an application
  meets it.
- *Both engines on one pool*: the same service behind a PgBouncer in transaction mode, whose server connections loads and queries share.
  With one connection more than there are loads, queries have what loads leave. PgBouncer's own cost is in it: compare it with its own
  *idle*.
- Client, service, server and loads share the machine's cores.
"""


def markdown(contestants, args, version):
    base = next(contestant for contestant in contestants if contestant.name == "asyncpg")
    parts = ["# OLTP benchmark", "`GET /v1/jobs/{id}`, and the query behind it.", machine(args, version)]
    idle, loaded = (lambda one: one.idle), (lambda one: one.loaded)
    parts += ["## Idle", figures(contestants, idle, base), "## With two loads", figures(contestants, loaded, base, body_rate)]
    parts += [targets(contestants[0], base), CAVEATS]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def machine(args, version):
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    versions = [version, program_version([args.bin, "--version"]), *package_versions()]
    versions += [program_version([shutil.which("pgbouncer") or "/usr/sbin/pgbouncer", "--version"])]
    facts = {
        "Date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "Command": f"`{shlex.join(['python', *sys.argv])}`",
        "Rounds": f"{args.rounds} of {args.seconds:.0f} s each",
        "Connections": f"{args.connections} to the service, or tasks; {args.pool} of each pool to PostgreSQL",
        "Machine": f"{os.cpu_count()} cores ({cpu.group(1) if cpu else platform.machine()})",
        "Versions": ", ".join(filter(None, versions)),
        "PostgreSQL's settings": ", ".join(f"`{name}={value}`" for name, value in SETTINGS.items()),
    }
    return "\n".join(f"- {name}: {value}" for name, value in facts.items())


def body_rate(runs):
    return f"{median(run.body_rate for run in runs) / 1e6:.0f}"


def figures(contestants, of, base, beside=None):
    heads = ["", "per second", "min", "max", "× asyncpg", "p50 ms", "p99 ms", "p99 max", "generator, cores"]
    heads += ["loads, MB/s"] * bool(beside)
    rows = []
    for contestant in contestants:
        runs = of(contestant)
        rates, p99s = [run.rate for run in runs], [run.p99 for run in runs]
        ratio = median(rates) / median(run.rate for run in of(base))
        rows.append([
            contestant.title,
            f"{median(rates):,.0f}",
            f"{min(rates):,.0f}",
            f"{max(rates):,.0f}",
            "–" if contestant.name == "healthz" else f"**{ratio:.2f}**",
            f"{median(run.p50 for run in runs) * 1000:.2f}",
            f"{median(p99s) * 1000:.2f}",
            f"{max(p99s) * 1000:.2f}",
            f"{median(run.cpu for run in runs):.2f}",
            *([beside(runs)] if beside else []),
        ])
    return table(heads, rows)


def targets(ours, base):
    rate = median(run.rate for run in ours.idle) / median(run.rate for run in base.idle)
    idle, loaded = (median(run.p99 for run in runs) * 1000 for runs in [ours.idle, ours.loaded])
    lines = [
        f"- throughput, idle: {rate:.2f} × asyncpg's (target: at least 2)",
        f"- p99 with two loads: {loaded:.2f} ms (target: at most 25), {loaded / idle:.2f} × the idle one of {idle:.2f} ms (target: at most 3)",
    ]
    return "\n".join(["## Targets", "", *lines])
