#!/usr/bin/env python3
"""Sends audit lines of a gate through rsyslog, with the settings of docs/audit.md. Started by tests/syslog.sh.

    tests/syslog.py PORTCULLIS REDIS_SERVER AUDIT_PAGE
"""

import json
import re
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PATIENCE = 30


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def eventually(what, test):
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        found = test()
        if found:
            return found
        time.sleep(0.05)
    raise SystemExit(f"not within {PATIENCE} s: {what}")


def settings_of(page, directory, port):
    """The settings for rsyslog on the page, with paths and the port of this test."""
    block = next(part for part in page.read_text().split("```text\n") if 'input(type="imuxsock"' in part.split("```")[0])
    text = block.split("```")[0]
    for theirs, ours in (
        ("/run/portcullis/log", f"{directory}/log.sock"),
        ("/var/log/portcullis-audit.log", f"{directory}/audit.log"),
        ('port="601"', f'port="{port}" address="127.0.0.1"'),
    ):
        if theirs not in text:
            raise SystemExit(f"{page} has no {theirs} any more")
        text = text.replace(theirs, ours)
    # The file of a distribution loads the module; its own socket is not this test's.
    return 'module(load="imuxsock" SysSock.Use="off")\n' + text


def ping(port):
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as client:
        client.sendall(b"PING\r\n")
        assert client.recv(100).startswith(b"+PONG"), "the gate answers"


class Process:
    def __init__(self, directory, name, *words):
        self.log = open(f"{directory}/{name}.out", "ab")
        self.process = subprocess.Popen(words, cwd=directory, stdout=self.log, stderr=self.log)

    def __enter__(self):
        return self.process

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(PATIENCE)
        self.log.close()


def events(directory):
    """The lines of the file that rsyslog writes. A message begins with the space behind its header."""
    file = Path(directory, "audit.log")
    lines = file.read_text().splitlines() if file.exists() else []
    return [json.loads(line) for line in lines]


def check(binary, directory, redis, name, to, rsyslogd):
    port = free_port()
    Path(directory, f"{name}.yaml").write_text(
        f"listeners: [{{name: {name}, bind: 127.0.0.1:{port}, upstream: main, allow: [127.0.0.1]}}]\n"
        f"upstreams: {{main: {{address: 127.0.0.1:{redis}}}}}\nadmin: off\naudit: {{path: '{to}', commands: all, keys: plain}}\n"
    )
    with Process(directory, name, binary, "run", "--config", f"{name}.yaml") as gate:
        eventually("the gate listens", lambda: can_connect(port))
        ping(port)
        seen = lambda: [line for line in events(directory) if line.get("listener") == name]
        has = lambda: {line["event"] for line in seen()} >= {"accepted", "command", "closed"}
        eventually(f"rsyslog has the lines over {to}", has)
        commands = [line for line in seen() if line["event"] == "command"]
        assert commands[0]["command"] == "ping", commands
        # A server that goes away and comes back: clients are served meanwhile, and lines arrive again.
        rsyslogd.__exit__()
        for _ in range(3):
            ping(port)
        rsyslogd.__init__(directory, "rsyslogd", *rsyslogd.words)
        before = len(seen())

        def again():
            ping(port)
            return len(seen()) > before

        eventually("lines arrive after a restart of rsyslog", again)
        assert gate.poll() is None, "the gate runs"
    print(f"{name}: lines arrive over {to}, and after a restart of rsyslog")


def can_connect(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    except OSError:
        return False


def main():
    binary, redis_server, page = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    with tempfile.TemporaryDirectory() as directory:
        redis, tcp = free_port(), free_port()
        conf = Path(directory, "rsyslog.conf")
        conf.write_text(settings_of(page, directory, tcp))
        words = ["rsyslogd", "-n", "-f", str(conf), "-i", f"{directory}/rsyslogd.pid"]
        told = subprocess.run(["rsyslogd", "-N1", "-f", str(conf)], capture_output=True, text=True)
        if told.returncode != 0 or re.search(r"error|warning", told.stderr, re.I):
            raise SystemExit(f"rsyslog does not take the settings of {page}:\n{told.stderr}")
        rsyslogd = Process(directory, "rsyslogd", *words)
        rsyslogd.words = words
        try:
            with Process(directory, "redis", redis_server, "--port", str(redis), "--bind", "127.0.0.1", "--save", ""):
                eventually("redis listens", lambda: can_connect(redis))
                check(binary, directory, redis, "socket", f"syslog:{directory}/log.sock", rsyslogd)
                check(binary, directory, redis, "tcp", f"syslog:127.0.0.1:{tcp}", rsyslogd)
        finally:
            rsyslogd.__exit__()


main()
