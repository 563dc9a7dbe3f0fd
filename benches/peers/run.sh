#!/usr/bin/env bash
# The same load through portcullis and through other forwarders, side by side in one run. Prints Markdown.
# Installs what is missing, builds the release binary, ends what it started. Options: see bench.py --help.
set -euo pipefail

top=$(cd "$(dirname "$0")/../.." && pwd)
. "$top/deploy/packages.sh"
cd "$top"

install_missing cc gcc python3 python3 redis-benchmark redis-tools haproxy haproxy nginx nginx rinetd rinetd nutcracker nutcracker
[ -e /usr/lib/nginx/modules/ngx_stream_module.so ] || install_packages libnginx-mod-stream
redis=$(redis_server)
cargo build --release --locked --quiet -p portcullis
exec python3 benches/peers/bench.py --portcullis "${CARGO_TARGET_DIR:-target}/release/portcullis" --redis "$redis" "$@"
