#!/usr/bin/env bash
# Client libraries that run scripts, under `acl: "@public @public-scripts"` and the Redis user that `check` prints for it:
# Celery, rq, redis-py's locks, limits and Sidekiq's scheduler in scripts.py, BullMQ, redlock and rate-limiter-flexible in
# scripts.mjs. Direct, then through the proxy with each kind of connections. About 2 minutes; downloads are kept in
# target/clients.
#
#   tests/clients/scripts.sh            all of it
#   tests/clients/scripts.sh fetch      only the downloads
#
# PORTCULLIS_BIN names a binary instead of the one that is built here.
set -euo pipefail

# The functions of shared.sh: servers, the proxy, waiting.
. "$(dirname "$0")/shared.sh"

script_packages=(celery==5.7.0 rq==3.0.0 redis==8.1.0 limits==5.8.0)
script_modules=(bullmq@6.7.0 redlock@4.2.0 rate-limiter-flexible@11.4.0 ioredis@6.0.0)

# The channels on which Celery and rq publish; the others publish nothing.
acl="@public @public-scripts &/0.celery.pidbox &/0.celeryev/worker.* &celery-task-meta-* &rq:pubsub:*"

scripts_main() {
    mkdir -p "$work"
    fetch_scripts
    [ "${1:-all}" != fetch ] || return 0
    find_gate
    trap stop_all EXIT
    # The direct run proves that the scripts expect Redis's own behaviour.
    start_redis scripts-direct
    run_libraries direct "$redis_port"
    local connections
    for connections in dedicated shared; do
        start_redis "scripts-$connections"
        start_gate_for_scripts "$connections"
        run_libraries "$connections" "$gate_port"
    done
}

fetch_scripts() {
    scripts_python=$work/venv-scripts/bin/python
    if [ ! -x "$scripts_python" ]; then
        python3 -c 'import ensurepip, venv' 2>/dev/null || install_packages python3-venv
        python3 -m venv "$work/venv-scripts"
    fi
    "$scripts_python" -m pip install --quiet --disable-pip-version-check "${script_packages[@]}"
    command -v node >/dev/null || install_packages nodejs
    command -v npm >/dev/null || install_packages npm
    mkdir -p "$work/packages-scripts"
    (cd "$work/packages-scripts" && npm install --silent --no-audit --no-fund --no-save "${script_modules[@]}")
}

run_libraries() {
    echo "$1:"
    cp "$top/tests/clients/scripts.mjs" "$work/packages-scripts/"
    # Their warnings matter only after a failure.
    if ! REDIS_PORT=$2 PYTHONDONTWRITEBYTECODE=1 timeout 120 "$scripts_python" "$top/tests/clients/scripts.py" 2>"$work/scripts-$1.log" ||
        ! timeout 60 node "$work/packages-scripts/scripts.mjs" "$2" 2>>"$work/scripts-$1.log"; then
        tail -n 40 "$work/scripts-$1.log" >&2
        fail "libraries that run scripts, $1: see $work/scripts-$1.log"
    fi
}

# The proxy logs in as the user that its own `check` prints.
start_gate_for_scripts() {
    local state=$work/scripts-$1
    gate_port=$(free_port)
    echo secret >"$state/password"
    chmod 600 "$state/password"
    cat >"$state/portcullis.yaml" <<YAML
listeners:
  - {name: public, bind: "127.0.0.1:$gate_port", upstream: main, allow: [127.0.0.1], auth: trust, acl: "$acl"}
upstreams:
  main: {address: "127.0.0.1:$redis_port", connections: $1, credentials: {username: app, password: {file: password}}}
admin: off
YAML
    "$gate" check --strict --json --config "$state/portcullis.yaml" >"$state/check.json"
    python3 -c 'import json, sys; print(json.load(sys.stdin)["redis_users"][0]["acl_setuser"])' <"$state/check.json" >"$state/user"
    echo "ACL SETUSER app >secret" >>"$state/user"
    # redis-cli prints OK twice if Redis accepts both; its exit status does not show a refusal.
    [ "$(redis-cli -p "$redis_port" <"$state/user" | sort | uniq -c | xargs)" = "2 OK" ]
    "$gate" run --config "$state/portcullis.yaml" >"$state/gate.out" 2>"$state/gate.log" &
    pids+=($!)
    wait_for "$gate_port" "the gate, see $state/gate.log"
}

scripts_main "$@"
