#!/usr/bin/env bash
# Redis's own test suite, of Debian's source package of Redis 7.0.15, in external-server mode: direct and proxied.
# Every difference from the direct run must be in redis-tcl.expected, with its reason. A run takes about 6 minutes.
#
#   tests/clients/redis-tcl.sh                    direct, trust and injected, then the comparison
#   tests/clients/redis-tcl.sh trust              these runs only (direct is kept from an earlier call)
#   tests/clients/redis-tcl.sh cluster            with --cluster-mode: a server of cluster mode with all slots, direct
#                                                 (direct-cluster) and through the gate as its cluster (one-node)
#
# PORTCULLIS_BIN names a binary instead of the one that is built here in release mode.
set -euo pipefail

top=$(cd "$(dirname "$0")/../.." && pwd)
. "$top/deploy/packages.sh"

version=7.0.15
work=${REDIS_TCL_DIR:-$top/target/redis-tcl}
password=tcl-suite-of-redis
# Reads the server's pid from a local child process, but an external server is none.
skipped="SRANDMEMBER with a dict containing long chain"
expected=$top/tests/clients/redis-tcl.expected
pids=()

main() {
    local runs=("$@") run status=0
    [ ${#runs[@]} -gt 0 ] || runs=(direct trust injected)
    [ "${runs[*]}" != cluster ] || runs=(direct-cluster one-node)
    for run in "${runs[@]}"; do
        case $run in
            direct | trust | injected | direct-cluster | one-node) ;;
            *) fail "no such run: $run (direct, trust, injected, cluster, direct-cluster, one-node)" ;;
        esac
    done
    mkdir -p "$work"
    trap stop_all EXIT
    install_missing tclsh tcl curl curl
    fetch_suite
    for run in "${runs[@]}"; do
        # The run to which this one is compared.
        [ -s "$work/$(base_of "$run").results" ] || [[ " ${runs[*]} " = *" $(base_of "$run") "* ]] ||
            runs=("$(base_of "$run")" "${runs[@]}")
    done
    [[ "${runs[*]}" =~ ^(direct|direct-cluster)$ ]] || build_gate
    for run in "${runs[@]}"; do
        run_suite "$run" || status=1
    done
    for run in "${runs[@]}"; do
        [ "$run" = "$(base_of "$run")" ] || compare "$run" || status=1
    done
    exit $status
}

base_of() {
    if is_cluster "$1"; then echo direct-cluster; else echo direct; fi
}

is_cluster() {
    case $1 in direct-cluster | one-node) ;; *) return 1 ;; esac
}

# The sources list is ours alone: the system's configuration and package lists are not touched.
fetch_suite() {
    suite=$work/redis-$version
    if [ ! -x "$suite/runtest" ]; then
        [ -e /usr/share/keyrings/debian-archive-keyring.gpg ] || install_packages debian-archive-keyring
        local apt=$work/apt list
        mkdir -p "$apt/lists/partial" "$apt/archives/partial"
        list=$apt/sources.list
        printf 'deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s main\n' \
            'http://deb.debian.org/debian bookworm' 'http://deb.debian.org/debian-security bookworm-security' >"$list"
        local options=(-qq -o "Dir::Etc::SourceList=$list" -o Dir::Etc::SourceParts=/dev/null
            -o "Dir::State::Lists=$apt/lists" -o "Dir::Cache=$apt" -o "Dir::Cache::Archives=$apt/archives"
            -o APT::Sandbox::User=)
        apt-get "${options[@]}" update
        (cd "$apt" && apt-get "${options[@]}" source --download-only redis)
        tar -C "$work" -xf "$apt/redis_$version.orig.tar.gz"
    fi
    local installed
    installed=$(redis_server)
    if "$installed" --version | grep -q "v=$version "; then
        server=$installed
    else
        # The suite checks the behaviour of its own version, so another server would fail.
        server=$suite/src/redis-server
        [ -x "$server" ] || { c_compiler; install_missing make make; make -s -j2 -C "$suite" MALLOC=libc redis-server redis-cli redis-benchmark; }
    fi
    local extension="if {[info exists ::env(REDIS_TCL_NODE)]} {source $top/tests/clients/redis-tcl-node.tcl}"
    grep -qxF "$extension" "$suite/tests/support/redis.tcl" || echo "$extension" >>"$suite/tests/support/redis.tcl"
    local tool
    for tool in redis-server redis-cli redis-benchmark; do
        [ -e "$suite/src/$tool" ] || ln -s "$(command -v "$tool")" "$suite/src/$tool"
    done
}

build_gate() {
    if [ -n "${PORTCULLIS_BIN:-}" ]; then gate=$PORTCULLIS_BIN; return; fi
    cargo build --release --locked --manifest-path "$top/Cargo.toml" -p portcullis
    gate=${CARGO_TARGET_DIR:-$top/target}/release/portcullis
}

run_suite() {
    local run=$1 port state status=0
    state=$work/$run
    rm -rf "$state" && mkdir -p "$state"
    start_redis "$run" "$state"
    port=$redis_port
    local options=(--tags -needs:repl --timeout 120 --skiptest "$skipped") name
    if is_cluster "$run"; then
        # Without --durable, the first test of a command that is refused would end the run.
        options+=(--cluster-mode --singledb --durable)
        while read -r name; do options+=(--skipunit "$name"); done < <(sed -n 's/^cluster: skip-unit: //p' "$expected")
        give_slots "$state"
    fi
    if [ "$run" != "$(base_of "$run")" ]; then
        start_gate "$run" "$state"
        port=$gate_port
        while read -r name; do options+=(--skiptest "$name"); done < <(skipped_in "$run")
    fi
    say "$run: Redis's tests against 127.0.0.1:$port, log in $state/suite.log"
    (
        [ "$run" != one-node ] || export REDIS_TCL_NODE=127.0.0.1:$redis_port
        cd "$suite" && ./runtest --host 127.0.0.1 --port "$port" --baseport "$(free_port)" "${options[@]}" >"$state/suite.log" 2>&1
    ) || status=$?
    stop_all
    # One line a test, without its time, colours and place: "ok NAME".
    sed -n 's/\x1b\[[0-9;]*m//g; s/^\[\(ok\|err\|exception\|TIMEOUT\)\]: */\1 /p' "$state/suite.log" |
        sed 's/ ([0-9]* ms)$//; s/ in tests\/[a-z0-9/_.-]*tcl$//' | sort >"$work/$run.results"
    local ok err
    ok=$(grep -c '^ok ' "$work/$run.results" || true)
    err=$(grep -vc '^ok ' "$work/$run.results" || true)
    echo "$run: $ok ok, $err err (runtest exit $status)"
    [ "$run" != "$(base_of "$run")" ] || [ "$err" = 0 ]
}

# The names of tests that are not run through the proxy.
skipped_in() {
    if is_cluster "$1"; then sed -n 's/^cluster: skip: //p' "$expected"; else sed -n 's/^gate: skip: //p' "$expected"; fi
}

start_redis() {
    local run=$1 state=$2
    redis_port=$(free_port)
    local options=(--port "$redis_port" --bind 127.0.0.1 --dir "$state" --save '' --daemonize no --logfile "$state/redis.log"
        --enable-protected-configs yes --enable-debug-command yes --enable-module-command yes)
    ! is_cluster "$run" || options+=(--cluster-enabled yes --cluster-config-file "nodes-$redis_port.conf")
    if [ "$run" = injected ]; then
        printf 'requirepass %s\n' "$password" >"$state/redis.conf"
        "$server" "$state/redis.conf" "${options[@]}" &
    else
        "$server" "${options[@]}" &
    fi
    pids+=($!)
    wait_for "$redis_port" "redis-server, see $state/redis.log"
}

# Gives all slots to the server.
give_slots() {
    local i
    redis-cli -e -p "$redis_port" CLUSTER ADDSLOTSRANGE 0 16383 >/dev/null
    for i in $(seq 100); do
        ! redis-cli -p "$redis_port" CLUSTER INFO | grep -q cluster_state:ok || return 0
        sleep 0.1
    done
    fail "the cluster is not ready, see $1"
}

start_gate() {
    local run=$1 state=$2 credentials='' where="address: 127.0.0.1:$redis_port"
    gate_port=$(free_port)
    ! is_cluster "$run" || where="cluster: {nodes: [127.0.0.1:$redis_port]}"
    if [ "$run" = injected ]; then
        printf '%s\n' "$password" >"$state/password"
        chmod 600 "$state/password"
        credentials="credentials: {password: {file: $state/password}}"
    fi
    # One worker: the suite sends on several connections without waiting and expects order, which only one thread keeps.
    cat >"$state/portcullis.yaml" <<YAML
listeners:
  - {name: suite, bind: "127.0.0.1:$gate_port", upstream: main, allow: [127.0.0.1], auth: trust}
upstreams:
  main:
    $where
    $credentials
admin: off
workers: 1
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

# Compares the lines that are in only one of the runs with the list of known ones.
compare() {
    local run=$1 base seen known
    base=$work/$(base_of "$run").results
    seen=$work/$run.differences
    {
        comm -23 "$base" "$work/$run.results" | sed "s/^/$run: missing: /"
        comm -13 "$base" "$work/$run.results" | sed "s/^/$run: instead: /"
    } | sort >"$seen"
    known=$(known_differences "$run" | sort)
    if diff <(printf '%s' "$known${known:+$'\n'}") "$seen" >"$work/$run.unexpected"; then
        echo "$run: as direct, but for $(wc -l <"$seen") known lines of redis-tcl.expected"
    else
        echo "$run: differs from direct otherwise than redis-tcl.expected says (< expected, > seen):"
        cat "$work/$run.unexpected"
        return 1
    fi
}

# Several tests may have one name: a skipped test is missing as often as it passes direct.
known_differences() {
    local run=$1 name kind=gate
    ! is_cluster "$run" || kind=cluster
    while read -r name; do
        grep -xF "ok $name" "$work/$(base_of "$run").results" | sed "s/^/$run: missing: /" ||
            fail "redis-tcl.expected skips a test that does not pass direct: $name"
    done < <(skipped_in "$run")
    sed -n "s/^$kind: fails: \(.*\)/$run: missing: ok \1\n$run: instead: err \1/p" "$expected"
    sed -n "/^$kind: \(skip\|skip-unit\|fails\): /d; s/^$kind: /$run: /; /^$run: /p" "$expected"
}

stop_all() {
    local pid
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
    pids=()
}

main "$@"
