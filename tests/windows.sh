#!/usr/bin/env bash
# Builds portcullis.exe with Debian's compilers, and tries it under wine: a gate before a Redis of Linux, and the unit tests
# of the pure crates.
#
#   tests/windows.sh            all of it
#   tests/windows.sh build      only the program; prints its path
#   tests/windows.sh release    the stripped program of a release, and its size
#   tests/windows.sh gate       the program and the gate
#
# Needs Debian's packages rustc-web, cargo-web, rust-web-src, gcc-mingw-w64-x86-64, g++-mingw-w64-x86-64 and wine64, and
# installs them. Where they cannot be had it prints NOT CHECKED and ends with 0. Builds are kept in target/windows.
set -euo pipefail

top=$(cd "$(dirname "$0")/.." && pwd)
. "$top/deploy/packages.sh"
cd "$top"

packages=(rustc-web cargo-web rust-web-src gcc-mingw-w64-x86-64 g++-mingw-w64-x86-64 wine64 cmake nasm)
triple=x86_64-pc-windows-gnu
target=${CARGO_TARGET_DIR:-$top/target}/windows
# The tests of the other crates need unix sockets and paths of Linux.
unit=(portcullis-resp portcullis-acl portcullis-session)

have_packages() {
    local program
    for program in /usr/bin/rustc /usr/bin/cargo x86_64-w64-mingw32-g++ wine nasm cmake; do
        command -v "$program" >/dev/null || return 1
    done
    [ -n "$(library)" ]
}

# The source of the standard library, which Debian has no build of for Windows.
library() {
    local found
    for found in /usr/src/rustc-*/library; do
        if [ -e "$found/std/Cargo.toml" ]; then printf '%s\n' "$found"; fi
    done | sort -V | tail -n 1
}

# Unoptimised, and without debug information: the build is most of the time.
windows_cargo() {
    local command=$1
    shift
    env RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 __CARGO_TESTS_ONLY_SRC_ROOT="$(library)" CARGO_TARGET_DIR="$target" \
        CARGO_PROFILE_DEV_OPT_LEVEL=0 CARGO_PROFILE_DEV_DEBUG=false CARGO_INCREMENTAL=0 \
        CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUNNER=wine WINEPREFIX="$target/wine" WINEDEBUG=-all \
        /usr/bin/cargo "$command" -Zbuild-std=std,panic_unwind --target "$triple" --locked "$@"
}

# wine 8 has no such library, which every program of Rust needs. Windows has it.
random_library() {
    mkdir -p "$1"
    [ ! -e "$1/bcryptprimitives.dll" ] || return 0
    local source=$target/bcryptprimitives.c
    cat >"$source" <<'END'
#include <windows.h>
#include <ntsecapi.h>
__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE data, SIZE_T length)
{
    return RtlGenRandom(data, (ULONG)length);
}
END
    x86_64-w64-mingw32-gcc -shared -O2 -o "$1/bcryptprimitives.dll" "$source" -ladvapi32
}

build() { windows_cargo build --quiet -p portcullis >&2; }

gate() {
    build
    random_library "$target/$triple/debug"
    WINEPREFIX="$target/wine" WINEDEBUG=-all \
        python3 "$top/tests/windows.py" "$target/$triple/debug/portcullis.exe" "$(redis_server)" wine
}

unit_tests() {
    random_library "$target/$triple/debug/deps"
    local crate
    for crate in "${unit[@]}"; do
        PROPTEST_RNG_SEED=${PROPTEST_RNG_SEED:-1} windows_cargo test --quiet -p "$crate" --lib
    done
}

release() {
    windows_cargo rustc --release --quiet -p portcullis --bin portcullis -- -C strip=symbols >&2
    stat -c '%s bytes: %n' "$target/$triple/release/portcullis.exe"
}

have_packages || (install_packages "${packages[@]}") || true
if ! have_packages; then
    echo "NOT CHECKED: the program for Windows: these packages of Debian 12 cannot be had here: ${packages[*]}"
    exit 0
fi
case ${1:-all} in
build) build && printf '%s\n' "$target/$triple/debug/portcullis.exe" ;;
release) release ;;
gate) gate ;;
all) gate && unit_tests ;;
*) fail "no such part: $1 (build, release, gate, or nothing for all)" ;;
esac
