#!/usr/bin/env bash
# Client libraries with `connections: shared`: the tests of redis-py, of its source package, direct and proxied,
# a script of ioredis and node-redis in shared.mjs, and workers of Bull and BullMQ in workers.mjs, these with dedicated
# connections too. About 3 minutes; downloads are kept in target/clients.
#
#   tests/clients/shared.sh             all
#   tests/clients/shared.sh redis-py    one of them: redis-py, node, workers
#   tests/clients/shared.sh fetch       only the downloads
#
# Every difference of redis-py's tests from the direct run must be in shared.expected, with its reason.
# PORTCULLIS_BIN names a binary instead of the one that is built here.
set -euo pipefail

top=$(cd "$(dirname "$0")/../.." && pwd)
. "$top/deploy/packages.sh"

redis_py=6.4.0
python_packages=(pytest==9.2.0 pytest-asyncio==1.5.0 pytest-timeout==2.4.0 numpy==2.4.6 mock==5.2.0 packaging==26.3
    cachetools==8.0.1 click==8.5.1 pybreaker==1.4.1)
node_packages=(ioredis@6.0.0 redis@6.3.1 bullmq@6.7.0 bull@4.16.5)
# The files of redis-py's tests that need only a standalone server without modules.
test_files=(commands pipeline pubsub scripting function lock monitor encoding connection connection_pool connect multiprocessing
    hash cache asyncio/commands asyncio/pipeline asyncio/pubsub asyncio/scripting asyncio/lock asyncio/monitor
    asyncio/encoding asyncio/connection asyncio/connection_pool asyncio/cwe_404 asyncio/hash)
marks='not redismod and not onlycluster and not ssl and not cp_integration and not replica'

work=${CLIENTS_DIR:-$top/target/clients}
expected=$top/tests/clients/shared.expected
pids=()

main() {
    local parts=("$@") part status=0
    [ ${#parts[@]} -gt 0 ] || parts=(redis-py node workers)
    for part in "${parts[@]}"; do
        case $part in redis-py | node | workers | fetch) ;; *) fail "no such part: $part (redis-py, node, workers, fetch)" ;; esac
    done
    mkdir -p "$work"
    [ "${parts[*]}" = fetch ] || find_gate
    for part in "${parts[@]}"; do
        # Not in a condition, which would switch off errexit.
        set +e
        (set -e; trap stop_all EXIT; "run_${part/-/_}")
        [ $? = 0 ] || { status=1; say "$part: FAILED"; }
        set -e
    done
    exit $status
}

run_fetch() {
    fetch_redis_py
    fetch_node
}

find_gate() {
    if [ -n "${PORTCULLIS_BIN:-}" ]; then gate=$PORTCULLIS_BIN; return; fi
    cargo build --quiet --locked --manifest-path "$top/Cargo.toml" -p portcullis
    gate=${CARGO_TARGET_DIR:-$top/target}/debug/portcullis
}

# Both runs at once, each with its own server: they sleep most of the time.
run_redis_py() {
    fetch_redis_py
    start_redis direct
    local direct=$redis_port
    start_redis shared
    start_gate shared
    run_pytest direct "$direct" &
    local running=$!
    run_pytest shared "$gate_port"
    wait "$running"
    compare
}

fetch_redis_py() {
    suite=$work/redis-$redis_py
    python=$work/venv/bin/python
    if [ ! -x "$python" ]; then
        python3 -c 'import ensurepip, venv' 2>/dev/null || install_packages python3-venv
        python3 -m venv "$work/venv"
    fi
    "$python" -m pip install --quiet --disable-pip-version-check "${python_packages[@]}"
    if [ ! -d "$suite/tests" ]; then
        "$python" -m pip download --quiet --disable-pip-version-check --no-deps --no-binary :all: -d "$work" "redis==$redis_py"
        tar -C "$work" -xf "$work/redis-$redis_py.tar.gz"
    fi
}

# One line a test: "passed NAME".
run_pytest() {
    local run=$1 port=$2 file files=()
    for file in "${test_files[@]}"; do
        case $file in
            asyncio/*) files+=("tests/test_asyncio/test_${file#asyncio/}.py") ;;
            *) files+=("tests/test_$file.py") ;;
        esac
    done
    local skipped=() name
    while read -r name; do skipped+=(--deselect "tests/$name"); done < <(sed -n 's/^skip: //p' "$expected")
    # A failed test does not fail the run: only the comparison counts.
    (cd "$suite" && "$python" -m pytest -q -rA -p no:cacheprovider -p no:warnings --redis-url "redis://127.0.0.1:$port/0" \
        -m "$marks" "${skipped[@]}" --junit-xml "$work/$run.xml" "${files[@]}" >"$work/$run.log" 2>&1) || true
    "$python" - "$work/$run.xml" >"$work/$run.results" <<'PYTHON'
import sys
import xml.etree.ElementTree as tree

lines = set()
for case in tree.parse(sys.argv[1]).iter("testcase"):
    kinds = {child.tag for child in case}
    outcome = "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
    lines.add(f"{outcome} {case.get('classname')}.{case.get('name')}")
print("\n".join(sorted(lines)))
PYTHON
    echo "$run: $(grep -c '^passed' "$work/$run.results") passed, $(grep -c '^failed' "$work/$run.results") failed"
    [ "$(grep -c '^passed' "$work/$run.results")" -gt 1000 ]
}

# The tests that pass direct and not through the proxy, or the other way round.
compare() {
    local seen=$work/differences
    {
        comm -23 "$work/direct.results" "$work/shared.results" | sed 's/^/direct: /'
        comm -13 "$work/direct.results" "$work/shared.results" | sed 's/^/shared: /'
    } | { grep -v ': skipped ' || true; } | LC_ALL=C sort >"$seen"
    if diff <({ grep -E '^(direct|shared): ' "$expected" || true; } | LC_ALL=C sort) "$seen"; then
        echo "redis-py: as direct, but for $(wc -l <"$seen") known lines of shared.expected"
    else
        echo "redis-py: differs from direct otherwise than shared.expected says (< expected, > seen)"
        return 1
    fi
}

fetch_node() {
    command -v node >/dev/null || install_packages nodejs
    command -v npm >/dev/null || install_packages npm
    mkdir -p "$work/packages"
    (cd "$work/packages" && npm install --silent --no-audit --no-fund --no-save "${node_packages[@]}")
}

run_node() {
    fetch_node
    cp "$top/tests/clients/shared.mjs" "$work/packages/"
    start_redis node
    start_gate node
    # The direct run proves that the script expects Redis's own behaviour.
    timeout 120 node "$work/packages/shared.mjs" "$redis_port"
    timeout 120 node "$work/packages/shared.mjs" "$gate_port"
}

# Several workers: the list must contain the clients of all of them.
run_workers() {
    local connections
    fetch_node
    cp "$top/tests/clients/workers.mjs" "$work/packages/"
    start_redis workers
    timeout 120 node "$work/packages/workers.mjs" "$redis_port"
    for connections in shared dedicated; do
        start_gate workers $connections 4
        timeout 120 node "$work/packages/workers.mjs" "$gate_port"
    done
}

start_redis() {
    local state=$work/$1
    rm -rf "$state" && mkdir -p "$state"
    redis_port=$(free_port)
    "$(redis_server)" --port "$redis_port" --bind 127.0.0.1 --dir "$state" --save '' --logfile "$state/redis.log" \
        --enable-debug-command yes --enable-protected-configs yes &
    pids+=($!)
    wait_for "$redis_port" "redis-server, see $state/redis.log"
}

start_gate() {
    local state=$work/$1 connections=${2:-shared} workers=${3:-1}
    gate_port=$(free_port)
    # One worker: the tests send on several connections without waiting and expect order, which only one thread keeps.
    cat >"$state/portcullis.yaml" <<YAML
listeners:
  - {name: suite, bind: "127.0.0.1:$gate_port", upstream: main, allow: [127.0.0.1], auth: trust}
upstreams:
  main: {address: "127.0.0.1:$redis_port", connections: $connections}
admin: off
workers: $workers
YAML
    "$gate" run --config "$state/portcullis.yaml" >"$state/gate.out" 2>"$state/gate.log" &
    pids+=($!)
    wait_for "$gate_port" "the gate, see $state/gate.log"
}

wait_for() {
    local i
    for i in $(seq 100); do
        port_is_free "$1" || return 0
        sleep 0.1
    done
    fail "nothing listens on port $1: $2"
}

stop_all() {
    local pid
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
    pids=()
}

# scripts.sh uses the functions of this file.
[ "${BASH_SOURCE[0]}" != "$0" ] || main "$@"
