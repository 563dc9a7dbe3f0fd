#!/usr/bin/env bash
# The status page in a real browser: page.mjs drives Debian's Chromium with playwright-core, and axe-core looks for
# faults that keep people with disabilities out. One to two minutes; downloads are kept in target/clients.
#
#   tests/clients/page.sh                      all of it
#   tests/clients/page.sh fetch                only the downloads
#   PAGE_SCREENSHOTS=DIR tests/clients/page.sh   also writes a picture of each view
#
# PORTCULLIS_BIN names a binary instead of the one that is built here.
set -euo pipefail

top=$(cd "$(dirname "$0")/../.." && pwd)
. "$top/deploy/packages.sh"

node_packages=(playwright-core@1.65.1 axe-core@4.14.1)
work=${CLIENTS_DIR:-$top/target/clients}/page

fetch() {
    command -v node >/dev/null || install_packages nodejs
    command -v npm >/dev/null || install_packages npm
    command -v chromium >/dev/null || install_packages chromium
    mkdir -p "$work"
    is_fetched || (cd "$work" && timeout 120 npm install --silent --no-audit --no-fund --no-save "${node_packages[@]}")
}

# Whether both packages are there in these versions.
is_fetched() {
    local package
    for package in "${node_packages[@]}"; do
        grep -qs "\"version\": \"${package#*@}\"" "$work/node_modules/${package%@*}/package.json" || return 1
    done
}

fetch
[ "${1:-}" != fetch ] || exit 0
gate=${PORTCULLIS_BIN:-}
if [ -z "$gate" ]; then
    cargo build --quiet --locked --manifest-path "$top/Cargo.toml" -p portcullis
    gate=${CARGO_TARGET_DIR:-$top/target}/debug/portcullis
fi
cp "$top"/tests/clients/page{,-keyboard}.mjs "$work/"
timeout 300 node "$work/page.mjs" "$gate" "$(redis_server)" "$(command -v chromium)"
