#!/usr/bin/env bash
# Checks deploy/prometheus and deploy/grafana with a real Prometheus: the alert rules and their cases, and every
# expression of the dashboard against a gate under load.
#
#   cargo build -p portcullis && tests/monitoring.sh
#
# PORTCULLIS_BIN names another binary. All servers are on free ports of loopback, and end with the script.
set -euo pipefail

top=$(cd "$(dirname "$0")/.." && pwd)
. "$top/deploy/packages.sh"

binary=${PORTCULLIS_BIN:-${CARGO_TARGET_DIR:-$top/target}/debug/portcullis}
[ -x "$binary" ] || fail "there is no $binary: cargo build -p portcullis"
install_missing prometheus prometheus openssl openssl python3 python3
redis=$(redis_server)

promtool check config "$top/deploy/prometheus/scrape.yaml"
promtool test rules "$top/deploy/prometheus/alerts.test.yaml"
exec python3 "$top/tests/monitoring.py" "$binary" "$redis"
