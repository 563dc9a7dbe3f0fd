# Sourced by quickstart.sh, the builds of packages and tests/*.sh: Debian and Ubuntu packages, free ports, files to pack.
# shellcheck shell=bash

say() { printf '%s\n' "$*" >&2; }
fail() { say "$(basename "$0"): $*"; exit 1; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else
        command -v sudo >/dev/null || fail "needs root or sudo to install packages: $*"
        sudo "$@"
    fi
}

# The packages' services would take ports of their own (6379 for one): policy-rc.d is Debian's way to forbid starting them.
install_packages() {
    command -v apt-get >/dev/null || fail "no apt-get here: please install $* yourself"
    say "installing $*"
    local policy=/usr/sbin/policy-rc.d kept='' status=0
    if [ -e "$policy" ]; then kept="$policy.portcullis-kept"; as_root mv "$policy" "$kept"; fi
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod 755 "$policy"
    { as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq update &&
        as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "$@"; } >&2 || status=$?
    as_root rm -f "$policy"
    if [ -n "$kept" ]; then as_root mv "$kept" "$policy"; fi
    [ "$status" = 0 ] || fail "apt-get could not install $*"
}

# Packages of which the command is missing: `install_missing curl curl redis-cli redis-tools`.
install_missing() {
    local wanted=()
    while [ $# -gt 1 ]; do
        command -v "$1" >/dev/null || wanted+=("$2")
        shift 2
    done
    if [ ${#wanted[@]} -gt 0 ]; then install_packages "${wanted[@]}"; fi
}

# A compiler alone does not link: gcc's package only recommends the C library's.
c_compiler() {
    links() { echo 'int main(void) { return 0; }' | cc -x c -o /dev/null - 2>/dev/null; }
    links || install_packages gcc libc6-dev
    links || fail "cc cannot build a program: see what it says to 'int main(void) { return 0; }'"
}

# The server binary, installed if there is none. A service that its package enabled would start on 6379 at the next boot.
redis_server() {
    local found
    found=$(command -v redis-server || command -v valkey-server || true)
    if [ -z "$found" ]; then
        install_packages redis-server redis-tools
        if command -v systemctl >/dev/null; then as_root systemctl disable redis-server >/dev/null 2>&1 || true; fi
        found=$(command -v redis-server) || fail "redis-server is still missing after its installation"
    fi
    printf '%s\n' "$found"
}

port_is_free() { ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# Below the ephemeral range, so that no outgoing connection takes it meanwhile.
free_port() {
    local port
    for _ in $(seq 200); do
        port=$((10000 + RANDOM % 20000))
        if port_is_free "$port"; then printf '%s\n' "$port"; return; fi
    done
    fail "found no free port on 127.0.0.1"
}

cargo_is_recent() {
    command -v cargo >/dev/null || fail "cargo is missing: https://rustup.rs installs it"
    local have want
    want=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$1/Cargo.toml")
    have=$(cargo --version | awk '{print $2}')
    [ "$(printf '%s\n%s\n' "$want" "${have%%-*}" | sort -V | head -n 1)" = "$want" ] ||
        fail "cargo $have is too old, $want or later is needed: rustup update"
}

# BINARY DIRECTORY: the files of a package that the binary itself makes. Without the debug information it is a fifth of
# its size.
stage_binary() {
    rm -rf "$2"
    mkdir -p "$2/man" "$2/completions"
    strip -o "$2/portcullis" "$1"
    "$2/portcullis" man --dir "$2/man"
    gzip -9n "$2"/man/*
    "$2/portcullis" completions bash >"$2/completions/portcullis"
    "$2/portcullis" completions zsh >"$2/completions/_portcullis"
    "$2/portcullis" completions fish >"$2/completions/portcullis.fish"
}
