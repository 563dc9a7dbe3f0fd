#!/usr/bin/env bash
# Clients with a standalone, Sentinel and Cluster mode, all through one address: redis-py, ioredis and node-redis, each
# in three modes, before a standalone server. With dedicated and shared connections, and with a listener that is only a
# sentinel. About 1 minute; downloads are kept in target/clients. The redis crate is in tests/e2e/presented/redis_rs.rs.
#
#   tests/clients/presented.sh          all of it
#   tests/clients/presented.sh fetch    only the downloads
#
# PORTCULLIS_BIN names a binary instead of the one that is built here.
set -euo pipefail

# The functions of shared.sh: servers, the proxy, waiting.
. "$(dirname "$0")/shared.sh"

presented_packages=(redis==8.1.0)
presented_modules=(ioredis@6.0.0 redis@6.3.1)

presented_main() {
    mkdir -p "$work"
    fetch_presented
    [ "${1:-all}" != fetch ] || return 0
    find_gate
    trap stop_all EXIT
    local connections
    for connections in dedicated shared; do
        start_redis "presented-$connections"
        start_presented "$connections"
        run_presented "$connections" "$gate_port"
        run_presented "$connections-sentinel" "$gate_port" "$sentinel_port"
    done
}

fetch_presented() {
    presented_python=$work/venv-presented/bin/python
    if [ ! -x "$presented_python" ]; then
        python3 -c 'import ensurepip, venv' 2>/dev/null || install_packages python3-venv
        python3 -m venv "$work/venv-presented"
    fi
    "$presented_python" -m pip install --quiet --disable-pip-version-check "${presented_packages[@]}"
    command -v node >/dev/null || install_packages nodejs
    command -v npm >/dev/null || install_packages npm
    mkdir -p "$work/packages-presented"
    (cd "$work/packages-presented" && npm install --silent --no-audit --no-fund --no-save "${presented_modules[@]}")
}

run_presented() {
    local run=$1
    shift
    echo "$run:"
    cp "$top/tests/clients/presented.mjs" "$work/packages-presented/"
    if ! PYTHONDONTWRITEBYTECODE=1 timeout 120 "$presented_python" "$top/tests/clients/presented.py" 127.0.0.1 "$@" 2>"$work/presented-$run.log" ||
        ! timeout 120 node "$work/packages-presented/presented.mjs" 127.0.0.1 "$@" 2>>"$work/presented-$run.log"; then
        tail -n 40 "$work/presented-$run.log" >&2
        fail "clients of a listener that presents itself, $run: see $work/presented-$run.log"
    fi
}

start_presented() {
    local state=$work/presented-$1
    gate_port=$(free_port)
    sentinel_port=$(free_port)
    cat >"$state/portcullis.yaml" <<YAML
listener_defaults: {upstream: main, allow: [127.0.0.1], auth: trust}
listeners:
  - {name: data, bind: "127.0.0.1:$gate_port", present_as: [standalone, sentinel, cluster]}
  - {name: sentinel, bind: "127.0.0.1:$sentinel_port", present_as: [sentinel], announce: "127.0.0.1:$gate_port"}
upstreams:
  main: {address: "127.0.0.1:$redis_port", connections: $1}
admin: off
YAML
    "$gate" run --config "$state/portcullis.yaml" >"$state/gate.out" 2>"$state/gate.log" &
    pids+=($!)
    wait_for "$gate_port" "the gate, see $state/gate.log"
}

presented_main "$@"
