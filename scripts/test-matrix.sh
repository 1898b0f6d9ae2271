#!/bin/sh
# Runs the suite of COPY equivalence on each of the named major versions of PostgreSQL, and says at the end what came out.
set -eu
cd "$(dirname "$0")/.."

log=target/servers/log
failed=
tallies=
for major in "$@"; do
    programs=$(scripts/install-matrix.sh "$major")
    # Run as root, the tests start the server as an unprivileged user.
    if [ "$(id -u)" -eq 0 ] && ! setpriv --reuid=nobody --clear-groups "$programs/postgres" --version >/dev/null; then
        echo "$programs must be readable for everybody when the tests are run as root" >&2
        exit 1
    fi
    status=$(mktemp)
    { PATH=$programs:$PATH cargo test --locked --test it copy_equivalence 2>&1 || echo failed >"$status"; } | tee "$log"
    [ -s "$status" ] && failed="$failed $major"
    rm -f "$status"
    # A run on another server than the one meant would prove nothing.
    tally=$(grep "on PostgreSQL $major\." "$log") || { echo "no tally of PostgreSQL $major" >&2; exit 1; }
    tallies="$tallies
$tally"
done
scripts/wait-for-clusters.sh
echo "$tallies"
[ -z "$failed" ] || { echo "differences on PostgreSQL$failed" >&2; exit 1; }
