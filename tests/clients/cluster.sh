#!/usr/bin/env bash
# Clients before a cluster, all through one address: redis-py, ioredis and node-redis, each as a client of one server and
# as one of a cluster, also while slots move and replicas take the place of their masters; and BullMQ and Celery, whose
# keys have a hash tag. What they read is searched for the addresses of the nodes. About two minutes; downloads are kept in
# target/clients. The redis crate is in tests/e2e/cluster/redis_rs.rs.
#
#   tests/clients/cluster.sh          all of it
#   tests/clients/cluster.sh queues   only BullMQ and Celery
#   tests/clients/cluster.sh fetch    only the downloads
#
# PORTCULLIS_BIN names a binary instead of the one that is built here.
set -euo pipefail

# The functions of presented.sh and shared.sh: the clients, the proxy, waiting.
. "$(dirname "$0")/presented.sh"

presented_packages+=(celery==5.7.0 packaging==26.3)
presented_modules+=(bullmq@6.7.0)
longest=300

cluster_main() {
    local state=$work/cluster parts=("$@") part data_port tap
    mkdir -p "$work"
    [ ${#parts[@]} -gt 0 ] || parts=(cluster queues)
    for part in "${parts[@]}"; do
        case $part in cluster | queues | fetch) ;; *) fail "no such part: $part (cluster, queues, fetch)" ;; esac
    done
    fetch_presented
    [ "${parts[*]}" != fetch ] || return 0
    find_gate
    trap stop_all EXIT
    start_nodes "$state"
    gate_port=$(free_port)
    data_port=$(free_port)
    start_before_nodes "$state" "$data_port"
    # Clients connect to the tap, which the proxy announces.
    python3 "$top/tests/clients/failover.py" tap "$state/inner-ports" "$gate_port:$data_port" &
    tap=$!
    pids+=("$tap")
    wait_for "$gate_port" "the tap"
    export SLOT_MOVE="python3 $top/tests/clients/nodes.py move $state/nodes"
    export PLANNED_FAILOVER="python3 $top/tests/clients/nodes.py failover $state/nodes"
    for part in "${parts[@]}"; do
        run_scripts "$part" cluster "$gate_port"
    done
    kill "$tap"
    wait "$tap" || fail "clients read inner addresses, see above"
}

start_nodes() {
    local state=$1 i
    rm -rf "$state" && mkdir -p "$state"
    python3 "$top/tests/clients/nodes.py" run "$(redis_server)" "$state" &
    pids+=($!)
    for i in $(seq 600); do
        [ ! -e "$state/nodes" ] || return 0
        sleep 0.1
    done
    fail "the cluster is not ready, see $state"
}

start_before_nodes() {
    local state=$1 port=$2 nodes
    nodes=$(head -n 3 "$state/nodes" | sed 's/.*/"&"/' | paste -sd ,)
    cat >"$state/portcullis.yaml" <<YAML
listeners:
  - name: data
    bind: "127.0.0.1:$port"
    upstream: main
    allow: [127.0.0.1]
    auth: trust
    present_as: [standalone, cluster]
    announce: "127.0.0.1:$gate_port"
upstreams:
  main: {cluster: {nodes: [$nodes]}}
admin: off
YAML
    "$gate" run --config "$state/portcullis.yaml" >"$state/gate.out" 2>"$state/gate.log" &
    pids+=($!)
    wait_for "$port" "the gate, see $state/gate.log"
}

cluster_main "$@"
