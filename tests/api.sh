#!/usr/bin/env bash
# Holds the API of the admin endpoint against its description /openapi.json with schemathesis: requests that the
# description allows and that it forbids, and each answer. With a token, and without one.
#
#   cargo build -p portcullis && tests/api.sh [EXAMPLES]
#
# EXAMPLES is the number of requests of a kind for each operation, 30 by default. PORTCULLIS_BIN names another binary.
# schemathesis comes from PyPI, into target/schemathesis; if it cannot be fetched, the script prints NOT CHECKED.
# All servers are on free ports of loopback and in a scratch directory, and end with the script.
set -euo pipefail

top=$(cd "$(dirname "$0")/.." && pwd)
. "$top/deploy/packages.sh"

# The version with which the description was last held against the handlers.
version=4.32.5
target=${CARGO_TARGET_DIR:-$top/target}
binary=${PORTCULLIS_BIN:-$target/debug/portcullis}
[ -x "$binary" ] || fail "there is no $binary: cargo build -p portcullis"
install_missing python3 python3
redis=$(redis_server)
tool=$target/schemathesis/bin/schemathesis
if ! "$tool" --version 2>/dev/null | grep -qF "$version"; then
    if ! { python3 -m venv "$target/schemathesis" && "$target/schemathesis/bin/pip" install -q "schemathesis==$version"; }; then
        echo "NOT CHECKED: the API against /openapi.json: schemathesis $version cannot be fetched from PyPI"
        exit 0
    fi
fi
exec python3 "$top/tests/api.py" "$binary" "$redis" "$tool" "${1:-30}"
