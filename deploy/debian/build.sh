#!/usr/bin/env bash
# Makes a Debian package of the release build: the stripped binary, unit, default configuration, manual pages, completions.
#
#   deploy/debian/build.sh [OPTIONS OF cargo deb]
#
# Prints the path of the package. PORTCULLIS_BIN names a binary to pack in place of a new release build.
set -euo pipefail

top=$(cd "$(dirname "$0")/../.." && pwd)
. "$top/deploy/packages.sh"
cd "$top"

target=${CARGO_TARGET_DIR:-$top/target}
binary=${PORTCULLIS_BIN:-$target/release/portcullis}
# cargo-deb looks for target/release in the directory that CARGO_TARGET_DIR names.
stage=$target/package

cargo_is_recent "$top"
c_compiler
install_missing dpkg-shlibdeps dpkg-dev
command -v cargo-deb >/dev/null || cargo install --quiet --locked cargo-deb
[ -n "${PORTCULLIS_BIN:-}" ] || cargo build --release --locked -p portcullis

stage_binary "$binary" "$stage/release"
CARGO_TARGET_DIR=$stage cargo deb --quiet --no-build --no-strip --no-dbgsym -p portcullis "$@"
