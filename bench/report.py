"""The results as Markdown: tables, the machine they come from, and how to read them."""

import importlib.metadata
import os
import platform
import re
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from cluster import SETTINGS

# What the ratios are to: the CSV file by the server's own means, and the least that a binary COPY costs.
BASES = ["psql_csv", "psql_binary"]
PACKAGES = ["psycopg", "asyncpg", "pyarrow", "adbc-driver-postgresql"]

CAVEATS = """\
## How to read this

- **× `\\copy` CSV** is the loader's time for one row divided by that of `psql \\copy` with the CSV
  file: below 1 is faster. It is the ratio of the two medians; *per round* gives the lowest and the
  highest ratio of two loads of the same round. Differences smaller than that range mean nothing.
- The loaders ran in turn, in the order of the table, once per round. Before each load the table was
  truncated, a checkpoint was made and the input was read into the page cache. After each load the
  rows were counted; in the first round a checksum over the text of all rows had to be the one that
  PostgreSQL's own `COPY` of the CSV file gives.
- A load is timed from connecting to having committed. For `psql` and `curl` that is the whole
  program; for Python it begins after the imports, in a new interpreter for each load. The pgsluice
  service was already running, as a service is.
- *(part)*: the slowest loaders got only the first rows of the file. Seconds are those of the part;
  *whole table* and the ratio are scaled by the number of rows. A short load has it easier with
  caches and WAL, so scaled figures flatter the loader that has them by something like a tenth.
- **MB/s** counts the bytes of the loader's own input, and the three formats of a table have
  different sizes. Compare formats by rows per second.
- **Client CPU** is the loading program's own, and for pgsluice `curl`'s: the service's is in the
  table of its own. PostgreSQL's is in neither. Client, service and server share the machine's
  cores, so that every second of CPU time that a loader saves is one that PostgreSQL gets; on a
  machine with more cores, or with the server elsewhere, the ratios will be others.
- The binary file of `psql \\copy` had been made before by `COPY TO`: nobody pays for making it. It
  shows about what a binary `COPY` costs on the server's side; it is not a way to load CSV.
- `copy.write_row` and `INSERT` get the strings of Python's `csv` module, and the server parses
  them. `copy_records_to_table` needs typed values: making them is a part of its time.
- ADBC gets Arrow's CSV reader with the column types of the table. With the types that the reader
  would guess, ADBC refuses both tables: it converts neither a float to `numeric` nor an int to
  another width.
- There are no indexes, keys or triggers, the server is on the same machine, and it has one client.
"""


def markdown(results, absent, args, versions):
    parts = ["# Benchmarks", machine(args, versions)]
    parts += [section(result) for result in results]
    parts += [service_table(results), not_run(absent), CAVEATS]
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def machine(args, versions):
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    settings = ", ".join(f"`{name}={value}`" for name, value in SETTINGS.items())
    facts = {
        "Date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "Command": f"`{shlex.join(['python', *sys.argv])}`",
        "Rounds": args.rounds,
        "Machine": f"{os.cpu_count()} cores ({cpu.group(1) if cpu else platform.machine()}), "
        f"{memory:.0f} GiB",
        "Kernel": f"{platform.system()} {platform.release()}",
        "Versions": ", ".join(versions + package_versions()),
        "PostgreSQL's settings": f"{settings}; all others are the defaults",
    }
    return "\n".join(f"- {name}: {value}" for name, value in facts.items())


def package_versions():
    found = [f"Python {platform.python_version()}"]
    for package in PACKAGES:
        try:
            found.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def program_version(command):
    """The first line that a program prints about itself."""
    try:
        shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return shown.splitlines()[0]


def section(result):
    csv = result.inputs["csv"]
    title = f"## {result.table}: {csv.rows:,} rows, {megabytes(csv):,.0f} MB of CSV"
    heads = ["loader", "rows", "median s", "min", "max", "whole table s", "rows/s", "MB/s"]
    heads += ["× `\\copy` CSV", "per round", "× binary file", "client CPU s"]
    bases = [next((case for case in result.cases if case.peer.name == name and case.runs), None) for name in BASES]
    rows = [case_row(case, bases, csv.rows) for case in result.cases if not case.failure]
    failures = [
        f"- **{case.peer.title} failed**: {case.failure}" for case in result.cases if case.failure
    ]
    return "\n\n".join([title, table(heads, rows), "\n".join(failures)])


def case_row(case, bases, all_rows):
    rows = case.input.rows
    seconds = [run.seconds for run in case.runs]
    middle = median(seconds)
    whole = middle * all_rows / rows
    return [
        case.peer.title,
        f"{rows:,}" + (" (part)" if case.input.part else ""),
        f"{middle:.2f}",
        f"{min(seconds):.2f}",
        f"{max(seconds):.2f}",
        f"{whole:.1f} (scaled)" if case.input.part else f"{whole:.2f}",
        f"{rows / middle:,.0f}",
        f"{megabytes(case.input) / middle:.0f}",
        *ratios(case, bases[0]),
        ratios(case, bases[1])[0],
        f"{median(run.client_cpu for run in case.runs):.2f}",
    ]


def ratios(case, base):
    """The ratio of the medians, and the range of the ratios within the rounds, per row."""
    if base is None:
        return ["–", "–"]
    ours, theirs = per_row(case), per_row(base)
    pairs = [our / their for our, their in zip(ours, theirs)]
    return [f"**{median(ours) / median(theirs):.2f}**", f"{min(pairs):.2f}–{max(pairs):.2f}"]


def per_row(case):
    return [run.seconds / case.input.rows for run in case.runs]


def service_table(results):
    heads = [
        "table",
        "body",
        "rows",
        "MB",
        "median s",
        "service CPU s",
        "CPU-s per GB",
        "peak RSS MiB",
    ]
    rows = [service_row(use) for result in results for use in result.uses]
    if not rows:
        return ""
    note = (
        "Each line is one process over all loads of its table and format, as many as there were rounds. The line of a tenth of "
        "`lineitem` is there for its memory: that must not depend on the size of the body."
    )
    return "\n\n".join(["## The pgsluice service", table(heads, rows), note])


def service_row(use):
    runs, size = use.case.runs, megabytes(use.case.input)
    cpu = median(run.service_cpu for run in runs)
    return [
        use.table,
        use.case.peer.kind,
        f"{use.case.input.rows:,}",
        f"{size:,.0f}",
        f"{median(run.seconds for run in runs):.2f}",
        f"{cpu:.2f}",
        f"{cpu / size * 1000:.2f}",
        f"{use.peak_rss / 2**20:.1f}",
    ]


def not_run(absent):
    if not absent:
        return ""
    return "\n".join(["## Not run", "", *(f"- {peer.title}: {why}" for peer, why in absent)])


def megabytes(source):
    return source.size / 1e6


def table(heads, rows):
    """A Markdown table whose first column is text and whose others are numbers."""
    widths = [max(map(len, column)) for column in zip(heads, *rows)]
    rule = ["-" * widths[0]] + ["-" * (width - 1) + ":" for width in widths[1:]]
    return "\n".join(line(cells, widths) for cells in [heads, rule, *rows])


def line(cells, widths):
    first = cells[0].ljust(widths[0])
    others = [cell.rjust(width) for cell, width in zip(cells[1:], widths[1:])]
    return f"| {' | '.join([first, *others])} |"
