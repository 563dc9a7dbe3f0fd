#!/usr/bin/env bash
# Every test of this repository, from nothing: installs what is missing, runs all steps, prints a summary.
# Exit 0 only if all passed. One step alone: tests/run.sh STEP...
set -euo pipefail

top=$(cd "$(dirname "$0")/.." && pwd)
. "$top/deploy/packages.sh"
cd "$top"

steps=(format prose structure lints docs purity licences advisories deploy unit e2e monitoring peers fuzz)
target=${CARGO_TARGET_DIR:-$top/target}
logs=$target/test-logs
# The disk space that all steps and a release build use (3.8 GiB), with some to spare.
need_mib=4608
summary=()
failed=0

main() {
    local wanted=("$@") step
    [ ${#wanted[@]} -gt 0 ] || wanted=("${steps[@]}")
    for step in "${wanted[@]}"; do
        declare -F "step_$step" >/dev/null || fail "no such step: $step (${steps[*]})"
    done
    mkdir -p "$logs"
    rm -f "$logs"/*.log
    room
    prepare
    for step in "${wanted[@]}"; do
        run "$step"
    done
    printf '%s\n' '' "${summary[@]}"
    detail "$logs"/*.log
    [ "$failed" = 0 ] || { say "$failed of ${#wanted[@]} steps failed"; exit 1; }
    echo "all ${#wanted[@]} steps passed in $SECONDS s"
}

# A full disk causes unclear errors of the compiler, the linker and the servers under test.
room() {
    local used free
    # Before the first build of the fuzz targets they use no space.
    used=$({ du -smc "$target" crates/*/fuzz/target 2>/dev/null || true; } | tail -n 1 | cut -f1)
    free=$(df -Pm "$target" | awk 'NR == 2 {print $4}')
    [ $((used + free)) -ge $need_mib ] ||
        fail "$target has $used MiB and $free MiB are free there: the tests need $need_mib MiB together; make room, or set CARGO_TARGET_DIR"
}

prepare() {
    cargo_is_recent "$top"
    c_compiler
    install_missing c++ g++ redis-cli redis-tools openssl openssl setpriv util-linux curl curl python3 python3 \
        ip iproute2 nginx nginx haproxy haproxy rinetd rinetd
    [ -e /usr/lib/nginx/modules/ngx_stream_module.so ] || install_packages libnginx-mod-stream
    redis_server >/dev/null
    cargo fmt --version >/dev/null 2>&1 || rustup component add rustfmt
    cargo clippy --version >/dev/null 2>&1 || rustup component add clippy
    export PATH=${CARGO_HOME:-$HOME/.cargo}/bin:$PATH
    # No incremental builds: their store uses more of the disk than the rest, and each part is built only once.
    export CARGO_INCREMENTAL=${CARGO_INCREMENTAL:-0}
}

# The steps that need a tool install it: a build takes minutes.
cargo_tool() {
    command -v "$1" >/dev/null || cargo install --quiet --locked "$1"
}

# The output of a step goes to its log; if the step fails, the end of the log is printed.
run() {
    local step=$1 start=$SECONDS log=$logs/$1.log result=passed
    printf '%-11s' "$step"
    # Not in a condition, which would switch off errexit in the step.
    set +e
    (set -e; "step_$step") >"$log" 2>&1
    local status=$?
    set -e
    if [ $status != 0 ]; then
        result=FAILED
        failed=$((failed + 1))
        printf 'FAILED\n'
        tail -n 150 "$log"
        say "(all of it: $log)"
    else
        grep -h '^NOT CHECKED' "$log" || printf 'passed\n'
        ! grep -q '^NOT CHECKED' "$log" || result="NOT CHECKED"
    fi
    summary+=("$(printf '%-11s %-11s %5d s  %s' "$step" "$result" $((SECONDS - start)) "$(detail "$log")")")
}

# Prints the number of tests in these logs.
detail() {
    sed -n 's/^test result: [a-zA-Z]*\. \([0-9]*\) passed; \([0-9]*\) failed; \([0-9]*\) ignored.*/\1 \2 \3/p' "$@" |
        awk '{p += $1; f += $2; i += $3} END {if (NR) printf "%d passed, %d failed, %d skipped\n", p, f, i}'
}

step_format() {
    cargo fmt --all --check
}

step_lints() {
    cargo clippy --locked --workspace --all-targets -- -D warnings
}

step_docs() {
    RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --document-private-items
    python3 tests/references.py
    python3 tests/prose.py docs
}

# The language of documentation, messages and doc comments; `tests/prose.py docs` and `code` check one part each.
step_prose() {
    python3 tests/prose.py all
}

# Imports between modules and crates, the size of files and of functions.
step_structure() {
    python3 tests/structure.py all
}

# The protocol's crates take bytes and time as arguments: no runtime and no sockets below them.
step_purity() {
    local crate found
    for crate in portcullis-resp portcullis-acl portcullis-session; do
        found=$(cargo tree --locked -e normal --prefix none -p "$crate" | grep -E '^(tokio|mio|socket2|async-[a-z]+|rustix|libc) ' || true)
        [ -z "$found" ] || { echo "$crate depends on: $found"; return 1; }
        echo "$crate: pure"
    done
    # These two read files.
    for crate in portcullis-config portcullis-import; do
        found=$(cargo tree --locked -e normal --prefix none -p "$crate" | grep -E '^(tokio|mio|socket2|async-[a-z]+) ' || true)
        [ -z "$found" ] || { echo "$crate depends on: $found"; return 1; }
        echo "$crate: no sockets"
    done
}

# cargo-deny reads the crates of every platform, and no build downloads those of the others.
step_licences() {
    cargo_tool cargo-deny
    cargo fetch --quiet --locked
    cargo deny --locked --offline check --hide-inclusion-graph licenses bans sources
}

# The database is on GitHub: if it cannot be fetched, the step says NOT CHECKED.
step_advisories() {
    cargo_tool cargo-deny
    cargo fetch --quiet --locked
    if ! timeout 120 cargo deny fetch db; then
        echo "NOT CHECKED: the advisory database could not be fetched; known vulnerabilities of dependencies are NOT CHECKED"
        return
    fi
    cargo deny --locked --offline check advisories
}

# systemd itself reads the unit; its exposure in systemd's own measure stays at 1.5 or below.
step_deploy() {
    local script unit
    for script in deploy/*.sh deploy/*/*.sh tests/*.sh tests/clients/*.sh benches/*/*.sh .ci/run; do bash -n "$script"; done
    for script in deploy/debian/scripts/* deploy/rpm/scripts/*; do sh -n "$script"; done
    if ! command -v systemd-analyze >/dev/null; then
        echo "NOT CHECKED: there is no systemd-analyze here; the systemd unit is NOT CHECKED"
        return
    fi
    unit=$(mktemp -d)/portcullis.service
    # Neither the binary nor its manual page need be installed for this.
    sed 's#/usr/bin/portcullis [^/]*--config#/bin/true#' deploy/systemd/portcullis.service >"$unit"
    cp deploy/systemd/portcullis.socket "$(dirname "$unit")"
    systemd-analyze verify --man=no "$unit" "$(dirname "$unit")/portcullis.socket"
    systemd-analyze security --no-pager --offline=true --threshold=15 "$unit"
    rm -r "$(dirname "$unit")"
}

# The same cases each time, as with the fuzz targets, unless another seed is set.
step_unit() {
    PROPTEST_RNG_SEED=${PROPTEST_RNG_SEED:-1} cargo test --locked --workspace --exclude e2e
}

step_e2e() {
    cargo build --locked -p portcullis
    # Most tests wait most of the time: for processes to start, for replies, for timeouts.
    cargo test --locked -p e2e -- --test-threads=$(($(nproc) * 2))
}

# Checks that the benchmark against other forwarders still runs; its figures do not count here.
step_peers() {
    cargo build --locked -p portcullis
    timeout 120 python3 benches/peers/bench.py --quick --strict --peers portcullis portcullis-shared haproxy --cases get-p16 \
        --parts cases connections tls \
        --portcullis "$target/debug/portcullis" --redis "$(redis_server)"
}

# Runs a script with the program of the debug build.
with_debug_build() {
    cargo build --locked -p portcullis
    PORTCULLIS_BIN=$target/debug/portcullis "$@"
}

# The program for Windows under wine; NOT CHECKED where its compilers cannot be had. The first build takes minutes.
step_windows() { tests/windows.sh; }

# The unit under a real systemd; NOT CHECKED where no machine can be booted.
step_systemd() { with_debug_build tests/systemd.sh; }

# The Debian package, with and without systemd; NOT CHECKED where it cannot be tried.
step_package() { with_debug_build tests/package.sh; }

# The RPM package; NOT CHECKED where it cannot be tried.
step_rpm() { with_debug_build tests/rpm.sh; }

# The container image; NOT CHECKED where it cannot be tried.
step_container() { with_debug_build tests/container.sh; }

# The manifests for Kubernetes; NOT CHECKED where kubectl and the schemas cannot be fetched.
step_kubernetes() { with_debug_build tests/kubernetes.sh; }

# Alert rules and dashboard, with a real Prometheus.
step_monitoring() { with_debug_build tests/monitoring.sh; }

# The API against its description; NOT CHECKED where schemathesis cannot be fetched.
step_api() { with_debug_build tests/api.sh; }

# Audit lines through rsyslog; NOT CHECKED where it is not installed.
step_syslog() { with_debug_build tests/syslog.sh; }

# If the libraries cannot be fetched, the step says NOT CHECKED.
step_clients() {
    if ! tests/clients/shared.sh fetch || ! tests/clients/scripts.sh fetch; then
        echo "NOT CHECKED: PyPI or npm cannot be reached; client libraries are NOT CHECKED"
        return
    fi
    tests/clients/shared.sh redis-py node workers
    tests/clients/scripts.sh
}

# Clients with a standalone, Sentinel and Cluster mode.
step_presented() {
    if ! tests/clients/presented.sh fetch; then
        echo "NOT CHECKED: PyPI or npm cannot be reached; client libraries are NOT CHECKED"
        return
    fi
    tests/clients/presented.sh
}

# Clients before a cluster, in plain and in cluster mode.
step_cluster() {
    if ! tests/clients/cluster.sh fetch; then
        echo "NOT CHECKED: PyPI or npm cannot be reached; client libraries are NOT CHECKED"
        return
    fi
    tests/clients/cluster.sh
}

# The status page in a real browser. If the libraries cannot be fetched, the step says NOT CHECKED.
step_page() {
    if ! tests/clients/page.sh fetch; then
        echo "NOT CHECKED: npm cannot be reached; the status page is NOT CHECKED"
        return
    fi
    tests/clients/page.sh
}

# The installed server, and the other versions; NOT CHECKED for those that cannot be fetched. More of the random
# commands: E2E_SEED=2 E2E_FUZZ_SECONDS=600.
step_servers() {
    cargo build --locked -p portcullis
    TEST_SERVERS=$(tests/servers.sh) cargo test --locked -p e2e -- servers:: differential:: --nocapture
}

# Tests of clusters whose nodes are of other versions, and WAITAOF, which needs one of them.
step_cluster_servers() {
    local servers name
    cargo build --locked -p portcullis
    servers=$(tests/servers.sh)
    for name in redis-8.2 valkey-8; do
        if [[ :$servers != *:$name=* ]]; then
            echo "NOT CHECKED: clusters of $name"
            continue
        fi
        TEST_SERVERS=$servers TEST_CLUSTER_SERVER=$name cargo test --locked -p e2e -- cluster::
    done
}

# A few seconds each, from the corpus in the repository; new inputs stay outside it.
# CI must give the same result for the same code, hence the fixed seed; FUZZ_SEED=0 FUZZ_SECONDS=600 searches further.
step_fuzz() {
    local directory target scratch
    local found=0
    cargo_tool cargo-fuzz
    for directory in crates/*/fuzz; do
        [ -e "$directory/Cargo.toml" ] || continue
        # Each has its own lock file, and cargo-fuzz would silently update an outdated one.
        cargo fetch --quiet --locked --manifest-path "$directory/Cargo.toml"
        # cargo-fuzz uses nightly flags; they work with the stable compiler.
        export RUSTC_BOOTSTRAP=1
        cargo fuzz build --fuzz-dir "$directory"
        for target in $(cargo fuzz list --fuzz-dir "$directory"); do
            found=$((found + 1))
            scratch=$(mktemp -d)
            mkdir -p "$directory/corpus/$target"
            cargo fuzz run --fuzz-dir "$directory" "$target" "$scratch" "$directory/corpus/$target" -- \
                -seed="${FUZZ_SEED:-1}" -max_total_time="${FUZZ_SECONDS:-5}" -print_final_stats=1 \
                -artifact_prefix="$logs/"
            rm -rf "$scratch"
        done
    done
    [ "$found" -gt 0 ] || { echo "there is no fuzz target"; return 1; }
    echo "$found fuzz targets"
}

main "$@"
