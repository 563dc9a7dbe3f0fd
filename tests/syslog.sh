#!/usr/bin/env bash
# Sends audit lines of a gate through Debian's rsyslog, over a socket file and over TCP, with the settings of
# docs/audit.md, and compares what arrives with what the clients did.
#
#   cargo build -p portcullis && tests/syslog.sh
#
# PORTCULLIS_BIN names another binary. Without rsyslogd it prints NOT CHECKED and ends with 0: install rsyslog.
# All servers are on free ports of loopback and in a scratch directory, and end with the script.
set -euo pipefail

top=$(cd "$(dirname "$0")/.." && pwd)
. "$top/deploy/packages.sh"

binary=${PORTCULLIS_BIN:-${CARGO_TARGET_DIR:-$top/target}/debug/portcullis}
[ -x "$binary" ] || fail "there is no $binary: cargo build -p portcullis"
if ! command -v rsyslogd >/dev/null; then
    echo "NOT CHECKED: audit lines through rsyslog: there is no rsyslogd (apt-get install rsyslog)"
    exit 0
fi
exec python3 "$top/tests/syslog.py" "$binary" "$(redis_server)" "$top/docs/audit.md"
