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

rm -rf "$stage"
mkdir -p "$stage/release/man" "$stage/release/completions"
# Without the debug information the binary is a fifth of its size.
strip -o "$stage/release/portcullis" "$binary"
"$stage/release/portcullis" man --dir "$stage/release/man"
gzip -9n "$stage"/release/man/*
"$stage/release/portcullis" completions bash >"$stage/release/completions/portcullis"
"$stage/release/portcullis" completions zsh >"$stage/release/completions/_portcullis"
"$stage/release/portcullis" completions fish >"$stage/release/completions/portcullis.fish"
CARGO_TARGET_DIR=$stage cargo deb --quiet --no-build --no-strip --no-dbgsym -p portcullis "$@"
