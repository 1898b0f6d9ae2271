"""What all the comparisons are as programs: their common arguments, what they say on the way, and how they are stopped."""

import argparse
import signal
import sys
from pathlib import Path

STOP_SIGNALS = [signal.SIGHUP, signal.SIGINT, signal.SIGTERM]


def arguments(description, out):
    """A parser with the arguments that are common to all; `out` is where the report goes."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--bin", type=Path, default=Path("target/release/pgsluice"))
    parser.add_argument("--data-bin", type=Path, default=Path("target/release/examples/bench_data"))
    parser.add_argument("--work-dir", type=Path, default=Path("target/bench"), help="keeps data")
    parser.add_argument("--cluster-dir", help="parent of the cluster (default: the temp folder)")
    parser.add_argument("--out", type=Path, default=Path(out))
    return parser


def clean_up_when_stopped():
    """Turns signals into an exception, so that every `with` cleans up."""
    for number in STOP_SIGNALS:
        signal.signal(number, stop)


def stop(*_):
    """Ends the program, and is not disturbed by a second signal."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    sys.exit("stopped")


def progress(message):
    print(message, file=sys.stderr, flush=True)
