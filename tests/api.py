#!/usr/bin/env python3
"""Runs schemathesis against the admin endpoint of a gate, with a token and without one. Started by tests/api.sh.

    tests/api.py PORTCULLIS REDIS_SERVER SCHEMATHESIS EXAMPLES
"""

import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PATIENCE = 30
TOKEN = "token-of-the-api-test"

# The stream of events does not end. The spelling of a network and of a command is more than a schema can say, so there
# a request that fits the schema may still be refused with 400.
SETTINGS = """
[[operations]]
include-path = "/api/events"
enabled = false

[[operations]]
include-path = ["/api/groups/{group}/entries", "/api/groups/{group}/entries/remove", "/api/explain"]
checks.positive_data_acceptance.enabled = false
"""

CONFIG = """
listeners:
  - {{name: public, bind: "127.0.0.1:{port}", upstream: main, allow: [office, 127.0.0.1], shadow: {{deny: [office]}}}}
upstreams: {{main: {{address: "127.0.0.1:{redis}"}}}}
groups: {{office: [203.0.113.0/24, {{cidr: 192.0.2.7, until: "2999-01-01T00:00:00Z"}}]}}
admin: {{bind: "127.0.0.1:{admin}"{token}}}
audit: {{path: audit.log}}
observe: {{slow: 1ms, large: 64KiB, hot: on, keys: plain}}
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def connect(port):
    """A connection to this port, as soon as a server listens there."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        except OSError:
            if time.monotonic() > end:
                raise SystemExit(f"no server on port {port} within {PATIENCE} s")
            time.sleep(0.05)


def check(binary, redis, tool, examples, with_token):
    with tempfile.TemporaryDirectory() as directory:
        port, admin = free_port(), free_port()
        token = ", token: {file: token}" if with_token else ""
        Path(directory, "token").write_text(TOKEN)
        Path(directory, "token").chmod(0o600)
        Path(directory, "portcullis.yaml").write_text(CONFIG.format(port=port, redis=redis, admin=admin, token=token))
        Path(directory, "schemathesis.toml").write_text(SETTINGS)
        with open(f"{directory}/log", "wb") as log:
            gate = subprocess.Popen([binary, "run"], cwd=directory, stdout=log, stderr=log)
        try:
            connect(admin).close()
            # A client that stays, and some commands, so that lists have rows.
            with connect(port) as client:
                client.sendall(b"SET key " + b"v" * 60000 + b"\r\nFLUSHALL\r\nGET key\r\n")
                headers = ["-H", f"Authorization: Bearer {TOKEN}"] if with_token else []
                url = f"http://127.0.0.1:{admin}/openapi.json"
                words = [tool, "run", url, *headers, "--max-examples", examples, "--seed", "1", "--no-color"]
                done = subprocess.run(words, cwd=directory, timeout=1500)
            if gate.poll() is not None:
                raise SystemExit("the gate has ended")
            if "panicked" in Path(directory, "log").read_text():
                raise SystemExit("the gate has panicked: " + Path(directory, "log").read_text())
            return done.returncode
        finally:
            gate.terminate()
            gate.wait(PATIENCE)


def main():
    binary, redis_server, tool, examples = sys.argv[1:]
    with tempfile.TemporaryDirectory() as directory:
        redis = free_port()
        words = [redis_server, "--port", str(redis), "--bind", "127.0.0.1", "--save", ""]
        with open(f"{directory}/redis.log", "wb") as log:
            server = subprocess.Popen(words, cwd=directory, stdout=log, stderr=log)
        try:
            connect(redis).close()
            results = [check(binary, redis, tool, examples, with_token) for with_token in (True, False)]
        finally:
            server.terminate()
            server.wait(PATIENCE)
    sys.exit(max(results))


main()
