#!/usr/bin/env bash
# The time of a failover of Sentinel through the proxy and through HAProxy, in one run. Prints Markdown. Installs
# missing programs, builds the release binary, stops its processes. Options: see bench.py --help.
set -euo pipefail

top=$(cd "$(dirname "$0")/../.." && pwd)
. "$top/deploy/packages.sh"
cd "$top"

install_missing python3 python3 haproxy haproxy
redis=$(redis_server)
cargo build --release --locked --quiet -p portcullis
exec python3 benches/failover/bench.py --portcullis "${CARGO_TARGET_DIR:-target}/release/portcullis" --redis "$redis" "$@"
