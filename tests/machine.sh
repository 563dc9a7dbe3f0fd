# Sourced by tests/systemd.sh, tests/package.sh and tests/container.sh: a Debian root made by debootstrap, booted with a systemd of its own.
# shellcheck shell=bash
#
# The root is cached in target/roots. A test sees it through an overlay in memory, so it changes nothing. The machine has
# a network of its own with a loopback interface only.

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$top/deploy/packages.sh"

target=${CARGO_TARGET_DIR:-$top/target}
roots=${ROOTS_DIR:-$target/roots}
# procps has the kill of `ExecReload=`; a package of Portcullis depends on it.
root_packages=systemd,systemd-sysv,dbus,iproute2,procps,logrotate,redis-server
scratch=
root=
machine=
leader=
checks=0
# Processes of a test outside of the machine. They end with the script.
pids=()

# The exit code is 0: what cannot run here is no failure of the product.
not_checked() { echo "NOT CHECKED: $*"; exit 0; }

# A line for each check that passed; a failed one ends the script.
passed() { checks=$((checks + 1)); echo "ok: $*"; }

base_root() {
    [ "$(id -u)" = 0 ] || not_checked "a machine with systemd needs root; the installed service is NOT CHECKED"
    local suite
    suite=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
    base=$roots/$suite
    [ ! -d "$base" ] || return 0
    command -v debootstrap >/dev/null && command -v systemd-nspawn >/dev/null ||
        (install_packages debootstrap systemd-container) ||
        not_checked "debootstrap and systemd-nspawn cannot be installed; the installed service is NOT CHECKED"
    mkdir -p "$roots"
    rm -rf "$base.part"
    debootstrap --variant=minbase --include="$root_packages" "$suite" "$base.part" >"$roots/debootstrap.log" 2>&1 ||
        not_checked "debootstrap failed ($roots/debootstrap.log); the installed service is NOT CHECKED"
    rm -rf "$base.part"/var/cache/apt/archives/*.deb "$base.part"/var/lib/apt/lists/*
    mv "$base.part" "$base"
}

# A fresh root in $root. It is gone when the script ends.
new_root() {
    [ -n "$scratch" ] || { scratch=$(mktemp -d); trap remove_all EXIT; trap 'exit 1' INT TERM; }
    local memory
    memory=$(mktemp -d -p "$scratch")
    mount -t tmpfs -o mode=0755 machine "$memory" ||
        not_checked "nothing can be mounted here; the installed service is NOT CHECKED"
    mkdir "$memory/upper" "$memory/work" "$memory/root"
    mount -t overlay -o "lowerdir=$base,upperdir=$memory/upper,workdir=$memory/work" machine "$memory/root" ||
        not_checked "no overlay can be mounted here; the installed service is NOT CHECKED"
    root=$memory/root
}

boot() {
    # systemd-nspawn keeps its locks there, and a file system that is shared with other namespaces may not do.
    mkdir -p /run/systemd/nspawn
    mountpoint -q /run/systemd/nspawn || mount -t tmpfs nspawn /run/systemd/nspawn
    # A machine allows pidfd_getfd; a container of systemd-nspawn does not by itself.
    systemd-nspawn --quiet --directory="$root" --boot --register=no --keep-unit --console=pipe --private-network \
        --system-call-filter=pidfd_getfd \
        >"$scratch/console" 2>&1 </dev/null &
    machine=$!
    if ! wait_for 60 is_booted; then
        tail -n 5 "$scratch/console"
        not_checked "systemd-nspawn does not boot a machine here; the installed service is NOT CHECKED"
    fi
}

is_booted() {
    leader=$(pgrep -P "$machine" | head -n 1) && [ -n "$leader" ] || return 1
    case $(inside systemctl is-system-running 2>/dev/null) in running | degraded) return 0 ;; esac
    return 1
}

# Runs a command in the machine.
inside() {
    nsenter --target "$leader" --all env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root SYSTEMD_PAGER= "$@"
}

halt() {
    [ -n "$machine" ] || return 0
    inside systemctl poweroff >/dev/null 2>&1 || true
    wait_for 30 is_off || kill -KILL "$machine" 2>/dev/null || true
    wait "$machine" 2>/dev/null || true
    machine=
}

is_off() { ! kill -0 "$machine" 2>/dev/null; }

# SECONDS and a command: repeats it until it succeeds.
wait_for() {
    local until=$((SECONDS + $1))
    shift
    until "$@"; do
        [ "$SECONDS" -lt "$until" ] || return 1
        sleep 0.1
    done
}

# Milliseconds of a clock that only runs forward.
now_ms() { awk '{printf "%d\n", $1 * 1000}' /proc/uptime; }

# KILL, because unshare ignores TERM while it waits; with it end all processes of its namespace.
end_processes() {
    [ ${#pids[@]} -gt 0 ] || return 0
    kill -KILL "${pids[@]}" 2>/dev/null || true
    # The shell reports a killed process here.
    wait "${pids[@]}" 2>/dev/null || true
    pids=()
}

remove_all() {
    local status=$? memory
    if [ $status != 0 ] && [ -n "$machine" ]; then
        inside systemctl status portcullis --no-pager --lines=0 || true
        inside journalctl -u portcullis --no-pager --lines=40 --output=short-precise || true
    fi
    halt
    end_processes
    for memory in "$scratch"/*/; do umount --recursive --lazy "$memory" 2>/dev/null || true; done
    rm -rf "$scratch"
    exit $status
}

# A property of the service, as systemd knows it.
property() { inside systemctl show --property "$1" --value portcullis; }

has_property() { [ "$(property "$1")" = "$2" ]; }

# ADDRESS PORT: whether a client is served.
pongs() { [ "$(inside timeout 2 redis-cli -h "$1" -p "$2" PING 2>/dev/null)" = PONG ]; }

# Prints the block of a page below the line `<!-- runs: SCRIPT NAME -->`.
block() {
    awk -v mark="<!-- runs: tests/$(basename "$0") $2 -->" \
        '$0 == mark {found = 1; next} found && /^```/ {if (inside) exit; inside = 1; next} inside' "$top/docs/$1"
}

# PAGE NAME DIRECTORY: runs a block of a page in the machine, as it is written. Its output is in $scratch/output.
page_runs() {
    local commands
    commands=$(block "$1" "$2")
    [ -n "$commands" ] || fail "docs/$1 has no block $2"
    inside bash -euc "cd $3; $commands" >"$scratch/output" 2>&1 ||
        fail "docs/$1, $2: $commands: $(cat "$scratch/output")"
    passed "docs/$1: $2"
}
