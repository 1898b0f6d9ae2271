"""What bad rows cost: loads of 2,000,000 lineitem rows with and without 1,000 bad ones among them.

    python bench/rejects.py [--rounds 5]

Rows that pgsluice itself refuses, of eight kinds, and rows that only the server refuses, because
their key is there already. The report of each load must name just those rows, by line, column and
code, or the run fails; and with reject_limit=999 nothing may be loaded. Timings are reported and
never judged.
"""

import itertools
import json
import random
import sys
import urllib.request
from decimal import Decimal
from pathlib import Path
from statistics import median

import program
from cluster import Cluster
from data import Input, Maker, count, truncate
from peers import Bench, curl, timed
from program import clean_up_when_stopped, progress
from report import machine, program_version, table

HERE = Path(__file__).resolve().parent
ROWS, BAD = 2_000_000, 1_000
SCALE = Decimal("0.334")
KEYED = "CREATE TABLE keyed (LIKE lineitem, PRIMARY KEY (l_orderkey, l_linenumber))"
COLUMNS = 16

# What to do to the fields of a record, and what the report has to say of it.
KINDS = [
    (lambda fields: replace(fields, 4, b"twenty"), "l_quantity", "22P02"),
    (lambda fields: replace(fields, 0, b"9" * 20), "l_orderkey", "22003"),
    (lambda fields: replace(fields, 10, b"1996-02-30"), "l_shipdate", "22008"),
    (lambda fields: replace(fields, 5, b""), "l_extendedprice", "23502"),
    (lambda fields: replace(fields, 15, b"x" * 45), "l_comment", "22001"),
    (lambda fields: replace(fields, 15, b"\xff\xfe"), "l_comment", "22021"),
    (lambda fields: fields[:-1], "l_comment", "22P04"),
    (lambda fields: [*fields, b"more"], None, "22P04"),
]


WHAT = f"""\
{ROWS:,} rows of lineitem by `curl`, {BAD:,} of them bad, at known lines. In every round the report
named just these, each with its line, column and SQLSTATE; with `reject_limit=999` nothing was loaded.
The rows that pgsluice refuses are of eight kinds: no number, out of range, no date, NULL in NOT NULL,
too long, not UTF-8, a field too few, a field too many. A duplicate key is known to the server only."""


def replace(fields, at, value):
    return [*fields[:at], value, *fields[at + 1 :]]


def main():
    args = program.arguments(__doc__, "docs/BENCHMARKS-REJECTS.md").parse_args()
    clean_up_when_stopped()
    with Cluster(args.cluster_dir) as cluster:
        cluster.run_file(HERE / "schema.sql")
        cluster.sql(KEYED)
        bench = Bench(cluster, args.bin, args.work_dir)
        inputs = make_inputs(Maker(args.data_bin, args.work_dir, cluster))
        results = measure(bench, inputs, args.rounds)
        versions = [cluster.sql("SELECT 'PostgreSQL ' || current_setting('server_version')")]
    versions += filter(None, [program_version([args.bin, "--version"])])
    text = markdown(results, args, versions)
    args.out.write_text(text)
    print(text)


def make_inputs(maker):
    """The clean file, and those with bad rows at known lines: (file, {line: (column, code)})."""
    whole = maker.generate("lineitem", SCALE, "csv")
    with whole.open("rb") as file:
        header, *records = [line.rstrip(b"\n") for line in itertools.islice(file, ROWS + 1)]
    # Records without quotes split at commas; the others stay good.
    plain = [at for at, record in enumerate(records) if record.count(b",") == COLUMNS - 1]
    chosen = sorted(random.Random(1).sample([at for at in plain if at > 0], BAD))
    ours, server = list(records), list(records)
    expected_ours, expected_server = {}, {}
    for number, at in enumerate(chosen):
        spoil, column, code = KINDS[number % len(KINDS)]
        ours[at] = b",".join(spoil(records[at].split(b",")))
        expected_ours[at + 2] = (column, code)
        server[at] = records[random.Random(at).randrange(at)]
        expected_server[at + 2] = (None, "23505")
    made = {}
    for name, lines in [("clean", records), ("ours", ours), ("server", server)]:
        made[name] = maker.folder / f"rejects-{name}.csv"
        made[name].write_bytes(b"\n".join([header, *lines, b""]))
    return {
        "clean": (made["clean"], {}),
        "ours": (made["ours"], expected_ours),
        "server": (made["server"], expected_server),
    }


CASES = [
    ("lineitem", "clean", "", "clean, `on_error=abort`"),
    ("lineitem", "clean", "?on_error=skip", "clean, `on_error=skip`"),
    ("lineitem", "ours", "?on_error=skip", "1,000 rows that pgsluice refuses"),
    ("keyed", "clean", "", "clean, `on_error=abort`"),
    ("keyed", "clean", "?on_error=skip", "clean, `on_error=skip`"),
    ("keyed", "server", "?on_error=skip", "1,000 duplicate keys"),
]


def measure(bench, inputs, rounds):
    results = {case: [] for case in CASES}
    with bench.services():
        service = bench.service("csv")
        for number in range(1, rounds + 1):
            for case in CASES:
                target, name, options, title = case
                path, expected = inputs[name]
                run = load(bench, service, target, options, path, expected)
                results[case].append(run)
                progress(f"round {number}: {target}: {title}: {run.seconds:.2f} s")
        one_too_many(bench, service, inputs)
    return results


def load(bench, service, target, options, path, expected):
    truncate(bench.cluster, target)
    Input(path, 0, "").warm()
    command = curl(service.base, target, "csv", path, options)
    run, answer = timed(command, bench.cluster.environment())
    job = json.loads(answer.splitlines()[0])
    wanted = (ROWS - len(expected), len(expected))
    found = (job.get("rows_loaded"), job.get("rows_rejected"))
    if found != wanted or count(bench.cluster, target) != wanted[0]:
        raise RuntimeError(f"{found} rows loaded and rejected, not {wanted}: {answer}")
    check_report(service, job, expected)
    return run


def check_report(service, job, expected):
    with urllib.request.urlopen(f"{service.base}/v1/jobs/{job['id']}/rejects") as response:
        rejects = [json.loads(line) for line in response]
    found = {reject["line"]: (reject["column"], reject["sqlstate"]) for reject in rejects}
    if found != expected or not all(reject["reason"] for reject in rejects):
        wrong = sorted(set(found.items()) ^ set(expected.items()))
        raise RuntimeError(f"the report is not right: {wrong[:10]}")


def one_too_many(bench, service, inputs):
    for target, name in [("lineitem", "ours"), ("keyed", "server")]:
        truncate(bench.cluster, target)
        options = "?on_error=skip&reject_limit=999"
        command = curl(service.base, target, "csv", inputs[name][0], options)
        _, answer = timed(command, bench.cluster.environment())
        if "too-many-rejects" not in answer or count(bench.cluster, target):
            raise RuntimeError(f"one too many, and yet: {answer}")


def markdown(results, args, versions):
    heads = ["table", "body", "median s", "min", "max", "× clean, abort", "× clean, skip"]
    rows = []
    for (target, _, _, title), runs in results.items():
        seconds = [run.seconds for run in runs]
        bases = [median(run.seconds for run in clean) for clean in clean_runs(results, target)]
        rows.append([
            {"lineitem": "no key", "keyed": "primary key"}[target],
            title,
            *(f"{figure(seconds):.2f}" for figure in (median, min, max)),
            *(f"**{median(seconds) / base:.2f}**" for base in bases),
        ])
    return "\n\n".join(["# What bad rows cost", machine(args, versions), WHAT, table(heads, rows)]) + "\n"


def clean_runs(results, target):
    """The loads of the clean body into the same table, without and with on_error=skip."""
    return [runs for (other, name, _, _), runs in results.items() if (other, name) == (target, "clean")]


if __name__ == "__main__":
    sys.exit(main())
