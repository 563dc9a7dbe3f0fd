#!/usr/bin/env bash
# Builds Portcullis, starts a private Redis and the proxy in front of it on 127.0.0.1:6380, and prints commands to try.
# Ctrl-C stops both.
#
#   deploy/quickstart.sh [--port N]           until Ctrl-C
#   deploy/quickstart.sh --check [--port N]   runs these commands itself; exit 0 only if each gives the expected result
set -euo pipefail

top=$(cd "$(dirname "$0")/.." && pwd)
. "$top/deploy/packages.sh"

port=6380
admin_port=9377
check=no
state=
pids=()

main() {
    while [ $# -gt 0 ]; do
        case $1 in
            --check) check=yes ;;
            --port) shift; port=${1:?--port wants a number} ;;
            *) fail "unknown argument $1 (usage: quickstart.sh [--check] [--port N])" ;;
        esac
        shift
    done
    cargo_is_recent "$top"
    c_compiler
    install_missing curl curl
    local server
    server=$(redis_server)
    cli=$(command -v redis-cli || command -v valkey-cli) || fail "found $server, but neither redis-cli nor valkey-cli"
    for busy in "$port" "$admin_port"; do
        port_is_free "$busy" || fail "port $busy on 127.0.0.1 is in use: stop what listens there$([ "$busy" != "$port" ] || echo ', or choose another with --port')"
    done

    say "building (release mode): a first build takes some minutes"
    cargo build --release --locked --manifest-path "$top/Cargo.toml" -p portcullis
    gate=${CARGO_TARGET_DIR:-$top/target}/release/portcullis

    state=$(mktemp -d)
    trap stop EXIT
    trap 'exit 0' INT TERM
    start_redis "$server"
    start_gate
    if [ "$check" = yes ]; then try_all; else
        say_what_to_try
        wait -n "${pids[@]}" || true
        tail -n 5 "$state/redis.log" "$state/gate.log" >&2
        fail "Redis or the proxy exited unexpectedly: see above"
    fi
}

# Reachable only through its socket, with a password that only the proxy knows.
start_redis() {
    (umask 077; head -c 32 /dev/urandom | sha256sum | cut -c -64 >"$state/password")
    (umask 077; printf 'port 0\nunixsocket %s\nunixsocketperm 700\nrequirepass %s\ndir %s\nsave ""\n' \
        "$state/redis.sock" "$(cat "$state/password")" "$state" >"$state/redis.conf")
    "$1" "$state/redis.conf" >"$state/redis.log" 2>&1 &
    pids+=($!)
    wait_until test -S "$state/redis.sock" || { cat "$state/redis.log" >&2; fail "$1 did not start"; }
}

start_gate() {
    cat >"$state/portcullis.yaml" <<YAML
listeners:
  - name: quickstart
    bind: 127.0.0.1:$port
    upstream: main
    allow: [here]
    auth: trust
    acl: "@public"
upstreams:
  main:
    address: unix:$state/redis.sock
    credentials: {password: {file: password}}
groups:
  here:
    note: this machine, but none of the other loopback addresses
    entries: [127.0.0.1]
admin: {bind: 127.0.0.1:$admin_port}
audit: {path: stderr}
YAML
    "$gate" run --config "$state/portcullis.yaml" 2>"$state/gate.log" &
    pids+=($!)
    wait_until is_ready || { cat "$state/gate.log" >&2; fail "the proxy did not become ready"; }
}

is_ready() { curl -sf "http://127.0.0.1:$admin_port/ready" >/dev/null; }

wait_until() {
    local i
    for i in $(seq 100); do
        if "$@"; then return 0; fi
        sleep 0.1
    done
    return 1
}

allowed="redis-cli -p PORT SET greeting hello"
forbidden="redis-cli -p PORT CONFIG GET requirepass"
refused="curl -s -m 10 --interface 127.0.0.2 telnet://127.0.0.1:PORT"
metrics="curl -s -m 10 http://127.0.0.1:ADMIN/metrics"

as_typed() { sed "s/PORT/$port/; s/ADMIN/$admin_port/; s#^redis-cli#$(basename "$cli")#" <<<"$1"; }

say_what_to_try() {
    cat <<TEXT

A private Redis listens on a unix socket, the proxy in front of it on 127.0.0.1:$port. It admits 127.0.0.1 and adds the password:

    $(as_typed "$allowed")

A command that would show this password is refused:

    $(as_typed "$forbidden")

Another source address is refused, and reads the reason:

    $(as_typed "$refused"); echo

The proxy counts both connections:

    $(as_typed "$metrics") | grep ^portcullis_connections

Configuration: $state/portcullis.yaml
Log and audit: $state/gate.log
Ctrl-C stops both.
TEXT
}

try_all() {
    local wrong=0
    see "an allowed client" "OK" bash -c "$(as_typed "$allowed")" || wrong=1
    see "what it stored" "hello" "$cli" -p "$port" GET greeting || wrong=1
    see "a command that would show the password" "$no_permission" bash -c "$(as_typed "$forbidden")" || wrong=1
    see "a client from 127.0.0.2" "-DENIED source address not allowed" bash -c "$(as_typed "$refused") </dev/null" || wrong=1
    see "the metrics: admitted" 'portcullis_connections_accepted_total{listener="quickstart"} 3' metric_lines || wrong=1
    see "the metrics: refused" 'portcullis_connections_refused_total{listener="quickstart",reason="not_allowed"} 1' metric_lines || wrong=1
    if [ "$wrong" != 0 ]; then
        say "the log of the proxy:"
        cat "$state/gate.log" >&2
        fail "not every result is as expected"
    fi
    echo "all results are as expected"
}

no_permission="NOPERM User default has no permissions to run the 'config|get' command"

metric_lines() { bash -c "$(as_typed "$metrics")" | grep -E '^portcullis_connections_(accepted|refused)_total'; }

# Runs a command, shows what it printed, and looks for one line in it.
see() {
    local what=$1 due=$2 got
    shift 2
    got=$("$@" 2>&1 | tr -d '\r') || true
    if grep -qxF -e "$due" <<<"$got"; then
        echo "$what: $due"
    else
        say "$what: expected \"$due\", got: $got"
        return 1
    fi
}

stop() {
    local pid
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
    if [ -n "$state" ]; then rm -rf "$state"; fi
}

main "$@"
