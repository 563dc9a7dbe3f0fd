#!/bin/sh
# Counts the instructions of each case with callgrind: the load of the machine does not change the count.
# Needs valgrind. The difference of two run lengths removes the cost of the start.
set -eu
cd "$(dirname "$0")/../.."
cargo build -q --release -p benches --example count
target=${CARGO_TARGET_DIR:-target}
out=$(mktemp -d)
trap 'rm -r "$out"' EXIT

instructions() {
    valgrind --tool=callgrind --callgrind-out-file="$out/callgrind" "$target/release/examples/count" "$1" "$2" \
        2>"$out/log" || { cat "$out/log" >&2; exit 1; }
    sed -n 's/.*Collected : //p' "$out/log"
}

printf '%-14s %s\n' case instructions
for case in set-64B get pipeline-64 mget-100 set-1MiB bulk-64B integer array-100 nested-map; do
    few=$(instructions "$case" 1000)
    many=$(instructions "$case" 11000)
    printf '%-14s %s\n' "$case" $(((many - few) / 10000))
done
