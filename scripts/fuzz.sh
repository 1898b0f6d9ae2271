#!/bin/sh
# Fuzzes the named targets, or all of them, one after the other and for so many seconds each: fuzz.sh SECONDS [TARGET…]. Says at the end
# what was run. A finding ends it; the input stands in fuzz/artifacts then.
set -eu
cd "$(dirname "$0")/.."
seconds=$1
shift

# Sanitizers are an unstable option of the compiler, which a stable one takes so.
export RUSTC_BOOTSTRAP=1
# What has been freed is kept for a while, to find out who still uses it: less of it than usual, for it counts as memory in use.
export ASAN_OPTIONS="quarantine_size_mb=16:${ASAN_OPTIONS:-}"
# Where the bodies of Parquet files are spooled.
if [ -w /dev/shm ]; then export TMPDIR=/dev/shm; fi

built=${CARGO_TARGET_DIR:-fuzz/target}
corpora=fuzz/corpus
cargo fuzz build
[ $# -gt 0 ] || set -- $(cargo fuzz list | grep -vx seeds)
if [ ! -e "$corpora/.seeded" ]; then
    "$built"/*/release/seeds "$corpora"
    touch "$corpora/.seeded"
fi

table="target | runs | seconds | edges | features | inputs kept | peak MiB"
for target in "$@"; do
    # No input may make the product ask for more at once, or have more in use. A decoder of zstd has its window, of 64 MiB.
    case $target in
        decompress) at_once=72 ;;
        *) at_once=16 ;;
    esac
    log=$built/fuzz-$target.log
    status=0
    cargo fuzz run "$target" -- -max_total_time="$seconds" -malloc_limit_mb=$at_once -rss_limit_mb=512 -timeout=20 \
        -print_final_stats=1 >"$log" 2>&1 || status=$?
    if [ "$status" -ne 0 ]; then
        tail -n 60 "$log" >&2
        exit 1
    fi
    told() { sed -n "s/^stat::$1: *//p" "$log"; }
    took=$(sed -n 's/^Done [0-9]* runs in \([0-9]*\) second.*/\1/p' "$log")
    covered=$(sed -n 's/.* cov: \([0-9]*\) ft: \([0-9]*\) corp: \([0-9]*\).*/\1 | \2 | \3/p' "$log" | tail -n 1)
    row="$target | $(told number_of_executed_units) | $took | $covered | $(told peak_rss_mb)"
    grep -A 1 '^a library panics' "$log" || true
    echo "$row"
    table="$table
$row"
done
echo
echo "$table"
