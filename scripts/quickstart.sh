#!/bin/sh
# From a fresh clone to rows in a table. Settings: PORT (8080), DATA_DIR (see `pgsluice serve --help`), ONCE=1 to stop after the load.
set -eu
cd "$(dirname "$0")/.."
port=${PORT:-8080}

scripts/install.sh server curl
cargo build --release --locked --bin pgsluice

output=$(mktemp)
# The service finds its own PostgreSQL, whatever database the environment may name.
unset DATABASE_URL PGSLUICE_DATABASE_URL PGSLUICE_BULK_DATABASE_URL
set -- serve --listen "127.0.0.1:$port"
[ -z "${DATA_DIR:-}" ] || set -- "$@" --data-dir "$DATA_DIR"
PGSLUICE_LOG=${PGSLUICE_LOG:-warn} "${CARGO_TARGET_DIR:-target}/release/pgsluice" "$@" >"$output" &
service=$!
stop() {
    trap - INT TERM HUP EXIT
    kill -INT "$service" 2>/dev/null || true
    wait "$service" || status=$?
    rm -f "$output"
    exit "${status:-0}"
}
trap stop INT TERM HUP EXIT

until grep -q '^listening on ' "$output"; do
    # It has said itself why; PORT=… and DATA_DIR=… are what can be chosen.
    kill -0 "$service" 2>/dev/null || { status=1 stop; }
    sleep 0.2
done
base=$(sed -n 's/^listening on //p' "$output")
database=$(sed -n "s/^embedded PostgreSQL: psql '\(.*\)'$/\1/p" "$output")

psql -XqAt "$database" -c 'SET client_min_messages = warning' -f examples/seattle-weather.sql
rows=$(psql -XqAt "$database" -c 'SELECT count(*) FROM seattle_weather')
if [ "$rows" -eq 0 ]; then
    echo "Loading examples/seattle-weather.csv:"
    curl -sS --fail-with-body -X POST -T examples/seattle-weather.csv -H 'Content-Type: text/csv' "$base/v1/tables/seattle_weather/loads"
else
    echo "The table has $rows rows from an earlier run; the latest load:"
    curl -sS --fail-with-body "$base/v1/jobs?table=seattle_weather&state=committed&limit=1"
fi

cat <<END


Next:
  curl '$base/v1/jobs'
  psql '$database' -c 'SELECT weather, count(*), max(temp_max) FROM seattle_weather GROUP BY 1 ORDER BY 2 DESC'
  curl -X POST -T examples/seattle-weather.csv -H 'Content-Type: text/csv' '$base/v1/tables/seattle_weather/loads'   # refused: the dates are there
END

[ -n "${ONCE:-}" ] && exit 0
echo "
Serving on $base until Ctrl-C."
wait "$service"
