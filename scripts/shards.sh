#!/usr/bin/env bash
# scripts/shards.sh PROGRAM [ARGUMENT...]
# A test program in two processes, one for each core: `--shard 1/2` and `--shard 2/2`. What the second says comes last, and
# each ends with its own counts. The status is the first's, unless that is 0.
set -u

said=$(mktemp)
trap 'rm -f "$said"' EXIT
"$@" --shard 2/2 > "$said" 2>&1 &
"$@" --shard 1/2
first=$?
wait $!
second=$?
cat "$said"
[ $first -ne 0 ] && exit $first
exit $second
