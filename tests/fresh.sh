#!/usr/bin/env bash
# Runs the README's commands as a fresh machine does: in a clone of HEAD, with an empty HOME, CARGO_HOME and target directory.
#
#   tests/fresh.sh                       every step of tests/run.sh, then deploy/quickstart.sh --check
#   tests/fresh.sh licences quickstart   only these
#
# The rustup toolchains, the packages of the system and cargo's registry settings stay. Everything else is downloaded
# and built again: half an hour and 6 GiB below TMPDIR. Changes that are not committed are not part of the run.
set -euo pipefail

top=$(cd "$(dirname "$0")/.." && pwd)
. "$top/deploy/packages.sh"

scratch=

main() {
    local steps=() quickstart=no step old_home
    for step in "$@"; do
        if [ "$step" = quickstart ]; then quickstart=yes; else steps+=("$step"); fi
    done
    [ $# -gt 0 ] || quickstart=yes
    cargo_is_recent "$top"
    [ -z "$(git -C "$top" status --porcelain)" ] || say "there are uncommitted changes: they are not part of this run"

    scratch=$(mktemp -d)
    trap finish EXIT
    git clone --quiet --no-hardlinks "$top" "$scratch/checkout"
    mkdir -p "$scratch/home" "$scratch/cargo" "$scratch/bin"
    old_home=${CARGO_HOME:-$HOME/.cargo}
    registry_settings "$old_home"
    export RUSTUP_HOME=${RUSTUP_HOME:-$HOME/.rustup}
    toolchain_only "$old_home/bin"
    export HOME=$scratch/home CARGO_HOME=$scratch/cargo CARGO_TARGET_DIR=$scratch/target
    # Each of them could lead back to files of earlier builds and installations.
    unset CARGO_BUILD_TARGET_DIR CARGO_INSTALL_ROOT RUSTC_WRAPPER CARGO_BUILD_RUSTC_WRAPPER \
        XDG_CACHE_HOME XDG_CONFIG_HOME XDG_DATA_HOME

    cd "$scratch/checkout"
    [ $# -gt 0 ] && [ ${#steps[@]} = 0 ] || tests/run.sh "${steps[@]}"
    [ "$quickstart" = no ] || deploy/quickstart.sh --check --port "$(free_port)"
}

# Only the settings for the registry, and nothing that was downloaded or built.
registry_settings() {
    local name
    for name in config.toml config credentials.toml credentials; do
        [ ! -e "$1/$name" ] || cp "$1/$name" "$scratch/cargo/"
    done
}

# Cargo's own folder of programs may hold cargo-deny and cargo-fuzz, so the toolchain's folder takes its place.
toolchain_only() {
    local path='' entry
    [ -z "$(command -v rustup)" ] || ln -s "$(command -v rustup)" "$scratch/bin/rustup"
    while IFS= read -r -d : entry; do
        [ "$entry" = "$1" ] || path+=:$entry
    done <<<"$PATH:"
    PATH=$scratch/bin:$(rustc --print sysroot)/bin$path
    export PATH
}

finish() {
    local status=$?
    cd /
    if [ $status = 0 ]; then rm -rf "$scratch"; else say "kept for a look, remove it afterwards: $scratch"; fi
    exit $status
}

main "$@"
