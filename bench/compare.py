"""Loads the same data with pgsluice and with its peers, in turn, and reports the times.

    python bench/compare.py [--rounds 5] [--only pgsluice_csv,psql_csv] [--datasets lineitem]

Makes a PostgreSQL cluster of its own and removes it at the end; no other database is touched. With
the default sizes it needs about 12 GB of disk. Timings are reported and never judged; wrong rows
are an error.
"""

import argparse
import sys
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import program
import report
from cluster import Cluster
from data import Input, Maker, checksum, count, truncate
from peers import PEERS, Bench, Peer
from program import clean_up_when_stopped, progress
from service import Service

HERE = Path(__file__).resolve().parent
TABLES = ["lineitem", "sensor"]


@dataclass
class Case:
    """One peer on one data set."""

    peer: Peer
    input: Input
    runs: list = field(default_factory=list)
    failure: str = ""

    @property
    def measured_service(self):
        return not self.failure and self.runs[0].service_cpu is not None


@dataclass
class ServiceUse:
    """What one pgsluice process needed for all the loads of a case."""

    table: str
    case: Case
    peak_rss: int


@dataclass
class Result:
    """All peers on one data set, and what the pgsluice services used."""

    table: str
    inputs: dict
    cases: list
    uses: list


def arguments():
    parser = program.arguments(__doc__, "docs/BENCHMARKS.md")
    parser.add_argument("--scale", type=Decimal, default=Decimal(1), help="of TPC-H lineitem")
    parser.add_argument("--sensor-rows", type=int, default=3_000_000)
    parser.add_argument("--slow-rows", type=int, default=500_000, help="for row-by-row Python")
    parser.add_argument("--only", type=names([peer.name for peer in PEERS]), metavar="PEER,…")
    parser.add_argument("--datasets", type=names(TABLES), default=TABLES, metavar="TABLE,…")
    return parser.parse_args()


def names(known):
    """An argparse type: a comma-separated choice from the known names."""

    def chosen(text):
        wanted = text.split(",")
        unknown = sorted(set(wanted) - set(known))
        if unknown:
            raise argparse.ArgumentTypeError(f"{unknown[0]}: not one of {', '.join(known)}")
        return wanted

    return chosen


def main():
    args = arguments()
    clean_up_when_stopped()
    with Cluster(args.cluster_dir) as cluster:
        bench = Bench(cluster, args.bin, args.work_dir)
        peers, absent = available(bench, args.only)
        cluster.run_file(HERE / "schema.sql")
        # A first start makes the schema of the metadata, and the memory for that is no load's.
        args.work_dir.mkdir(parents=True, exist_ok=True)
        with Service(args.bin, cluster, args.work_dir / "pgsluice-schema.log"):
            pass
        results = [measure(bench, table, peers, args) for table in args.datasets]
        versions = [cluster.sql("SELECT 'PostgreSQL ' || current_setting('server_version')")]
    versions += filter(None, [report.program_version([args.bin, "--version"])])
    text = report.markdown(results, absent, args, versions)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(text)
    print(text)
    return any(case.failure for result in results for case in result.cases)


def available(bench, only):
    """The peers that can run here, and those that cannot with the reason."""
    wanted = [peer for peer in PEERS if not only or peer.name in only]
    reasons = [(peer, peer.missing(bench)) for peer in wanted]
    for peer, why in reasons:
        if why:
            progress(f"not run: {peer.name}: {why}")
    peers = [peer for peer, why in reasons if not why]
    return peers, [(peer, why) for peer, why in reasons if why]


def measure(bench, table, peers, args):
    amount = args.scale if table == "lineitem" else args.sensor_rows
    progress(f"{table} {amount}: making the data")
    maker = Maker(args.data_bin, args.work_dir, bench.cluster)
    inputs = maker.inputs(table, amount, args.slow_rows, {peer.kind for peer in peers})
    cases = [Case(peer, inputs[peer.kind]) for peer in peers]
    uses = take_turns(bench, table, cases, args.rounds)
    if table == "lineitem":
        uses += a_tenth(bench, maker, amount / 10, peers, args.rounds)
    return Result(table, inputs, cases, uses)


def take_turns(bench, table, cases, rounds):
    """Every peer once per round; returns what the pgsluice services used."""
    with bench.services() as services:
        for number in range(1, rounds + 1):
            for case in cases:
                if not case.failure:
                    attempt(bench, table, case, number)
        return [
            ServiceUse(table, case, services[case.peer.kind].peak_rss())
            for case in cases
            if case.peer.kind in services and case.measured_service
        ]


def a_tenth(bench, maker, amount, peers, rounds):
    """The CSV load again with a tenth of the data, as often: does memory depend on the body's size?"""
    peer = next((peer for peer in peers if peer.name == "pgsluice_csv"), None)
    if not peer:
        return []
    source = maker.inputs("lineitem", amount, slow_rows=0, kinds=set())["csv"]
    return take_turns(bench, "lineitem", [Case(peer, source)], rounds)


def attempt(bench, table, case, number):
    """One timed load with its checks. A peer that fails once is out of the comparison."""
    label = f"{table} round {number}: {case.peer.name}"
    try:
        case.runs.append(load(bench, table, case, check_content=number == 1))
    except RuntimeError as error:
        case.failure = str(error)
        progress(f"{label} failed: {error}")
    else:
        progress(f"{label} {case.runs[-1].seconds:.2f} s")


def load(bench, table, case, check_content):
    truncate(bench.cluster, table)
    case.input.warm()
    run = case.peer.load(bench, table, case.input)
    loaded = count(bench.cluster, table)
    if loaded != case.input.rows:
        raise RuntimeError(f"{loaded} rows in the table, not {case.input.rows}")
    if check_content and checksum(bench.cluster, table) != case.input.checksum:
        raise RuntimeError("the rows in the table differ from those that COPY stores")
    return run


if __name__ == "__main__":
    sys.exit(main())
