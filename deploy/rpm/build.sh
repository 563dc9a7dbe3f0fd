#!/usr/bin/env bash
# Makes an RPM package of the release build: the files of the Debian package.
#
#   deploy/rpm/build.sh [OPTIONS OF cargo generate-rpm]
#
# Prints the path of the package. PORTCULLIS_BIN names a binary to pack in place of a new release build.
set -euo pipefail

top=$(cd "$(dirname "$0")/../.." && pwd)
. "$top/deploy/packages.sh"
cd "$top"

target=${CARGO_TARGET_DIR:-$top/target}
binary=${PORTCULLIS_BIN:-$target/release/portcullis}
# cargo-generate-rpm replaces `target/release` in the names of files by this directory.
stage=$target/package-rpm

cargo_is_recent "$top"
c_compiler
command -v cargo-generate-rpm >/dev/null || cargo install --quiet --locked cargo-generate-rpm
[ -n "${PORTCULLIS_BIN:-}" ] || cargo build --release --locked -p portcullis

stage_binary "$binary" "$stage/release"
cargo generate-rpm --package crates/proxy --target-dir "$stage" "$@"
ls -t "$stage"/generate-rpm/*.rpm | head -n 1
