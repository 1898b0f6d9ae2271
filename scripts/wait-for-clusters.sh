#!/bin/sh
# The tests' clusters are taken down by a process that outlives the tests for a moment: waits for that, so that nothing is left when
# `make test` ends. Each directory carries the pid of its run; those of runs that still go on are none of our business.
# On a busy machine that takes a while.
tries=60
while [ "$tries" -gt 0 ]; do
    left=
    for dir in "${TMPDIR:-/tmp}"/pgsluice-test-*; do
        [ -e "$dir" ] && ! kill -0 "${dir##*-}" 2>/dev/null && left="$left $dir"
    done
    [ -z "$left" ] && exit 0
    sleep 0.5
    tries=$((tries - 1))
done
echo "not taken down:$left" >&2
exit 1
