#!/bin/sh
# Measures the cost of `observe` and of an open status page: CPU per request of gates that differ only in `observe`, in
# alternating rounds against one Redis, and with valgrind the instructions per request.
#
#   benches/observe/run.sh [ROUNDS]             both
#   benches/observe/run.sh ROUNDS cpu           only the CPU
#   benches/observe/run.sh 0 instructions       only the instructions
#
# Needs redis-server, redis-benchmark and python3. PORTCULLIS_BIN names a binary instead of the one that is built here.
set -eu
top=$(cd "$(dirname "$0")/../.." && pwd)
if [ -z "${PORTCULLIS_BIN:-}" ]; then
    cargo build --quiet --locked --release --manifest-path "$top/Cargo.toml" -p portcullis
    PORTCULLIS_BIN=${CARGO_TARGET_DIR:-$top/target}/release/portcullis
fi
exec python3 "$top/benches/observe/bench.py" "$PORTCULLIS_BIN" "${1:-5}" "${2:-both}"
