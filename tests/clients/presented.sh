#!/usr/bin/env bash
# Clients with a standalone, Sentinel and Cluster mode, all through one address: redis-py, ioredis and node-redis, each
# in three modes, before a standalone server, and before sentinels with a planned failover. With dedicated and shared
# connections, and with a listener that is only a sentinel. What clients read of the sentinels' upstream is searched for
# the addresses behind the proxy. About 2 minutes; downloads are kept in target/clients. The redis crate is in
# tests/e2e/presented/redis_rs.rs.
#
#   tests/clients/presented.sh              all of it
#   tests/clients/presented.sh standalone   one kind of upstream: standalone, masters
#   tests/clients/presented.sh fetch        only the downloads
#
# PORTCULLIS_BIN names a binary instead of the one that is built here.
set -euo pipefail

# The functions of shared.sh: servers, the proxy, waiting.
. "$(dirname "$0")/shared.sh"

presented_packages=(redis==8.1.0)
presented_modules=(ioredis@6.0.0 redis@6.3.1)
# Seconds that the clients of one library and run may take.
longest=120

presented_main() {
    local kinds=("$@") kind connections
    [ ${#kinds[@]} -gt 0 ] || kinds=(standalone masters)
    mkdir -p "$work"
    fetch_presented
    [ "${kinds[*]}" != fetch ] || return 0
    find_gate
    trap stop_all EXIT
    for kind in "${kinds[@]}"; do
        for connections in dedicated shared; do
            "before_$kind" "$connections"
        done
    done
}

before_standalone() {
    start_redis "presented-$1"
    gate_port=$(free_port)
    sentinel_port=$(free_port)
    start_presented "$1" "$gate_port" "$gate_port" "$sentinel_port" "address: \"127.0.0.1:$redis_port\""
    run_scripts presented "$1" "$gate_port"
    run_scripts presented "$1-sentinel" "$gate_port" "$sentinel_port"
    stop_all
}

# Clients connect to the tap, which the proxy announces.
before_masters() {
    local run=masters-$1 sentinels data_port pure_port tap
    start_masters "presented-$run"
    gate_port=$(free_port)
    sentinel_port=$(free_port)
    data_port=$(free_port)
    pure_port=$(free_port)
    sentinels=$(paste -sd ' ' "$work/presented-$run/sentinels")
    start_presented "$run" "$gate_port" "$data_port" "$pure_port" "sentinel: {master: mymaster, nodes: [${sentinels// /, }]}"
    python3 "$top/tests/clients/failover.py" tap "$work/presented-$run/inner-ports" "$gate_port:$data_port" "$sentinel_port:$pure_port" &
    tap=$!
    pids+=("$tap")
    wait_for "$gate_port" "the tap"
    wait_for "$sentinel_port" "the tap"
    export PLANNED_FAILOVER="python3 $top/tests/clients/failover.py failover $sentinels"
    run_scripts presented "$run" "$gate_port"
    run_scripts presented "$run-sentinel" "$gate_port" "$sentinel_port"
    unset PLANNED_FAILOVER
    kill "$tap"
    wait "$tap" || fail "clients read inner addresses, see above"
    stop_all
}

# A master, two replicas and three sentinels, each at an address of its own.
start_masters() {
    local state=$work/$1 i
    rm -rf "$state" && mkdir -p "$state"
    python3 "$top/tests/clients/failover.py" run "$(redis_server)" "$state" &
    pids+=($!)
    for i in $(seq 600); do
        [ ! -e "$state/sentinels" ] || return 0
        sleep 0.1
    done
    fail "the sentinels are not ready, see $state"
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

# run_scripts NAME RUN PORT...: NAME.py and NAME.mjs as clients of these ports.
run_scripts() {
    local name=$1 run=$2
    shift 2
    local log=$work/$name-$run.log
    echo "$run:"
    cp "$top"/tests/clients/{presented,cluster,listeners,queues}.mjs "$work/packages-presented/"
    if ! PYTHONDONTWRITEBYTECODE=1 timeout "$longest" "$presented_python" "$top/tests/clients/$name.py" 127.0.0.1 "$@" 2>"$log" ||
        ! timeout "$longest" node "$work/packages-presented/$name.mjs" 127.0.0.1 "$@" 2>>"$log"; then
        tail -n 40 "$log" >&2
        fail "clients of a listener that presents itself, $run: see $log"
    fi
}

# start_presented RUN ANNOUNCED_PORT DATA_PORT SENTINEL_PORT UPSTREAM: the last port is only a sentinel.
start_presented() {
    local state=$work/presented-$1 connections=${1#masters-}
    cat >"$state/portcullis.yaml" <<YAML
listener_defaults: {upstream: main, allow: [127.0.0.1], auth: trust, announce: "127.0.0.1:$2"}
listeners:
  - {name: data, bind: "127.0.0.1:$3", present_as: [standalone, sentinel, cluster]}
  - {name: sentinel, bind: "127.0.0.1:$4", present_as: [sentinel]}
upstreams:
  main: {$5, connections: $connections}
admin: off
YAML
    "$gate" run --config "$state/portcullis.yaml" >"$state/gate.out" 2>"$state/gate.log" &
    pids+=($!)
    wait_for "$3" "the gate, see $state/gate.log"
}

# cluster.sh uses the functions of this file.
[ "${BASH_SOURCE[0]}" != "$0" ] || presented_main "$@"
