"""Measures gates that differ only in `observe`. Started by benches/observe/run.sh.

    bench.py PORTCULLIS ROUNDS both|cpu|instructions
"""

import pathlib
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

# `page` is everything on, with a reader of the events and the requests that the page repeats.
OBSERVE = {
    "off": "{slow: off, large: off, hot: off}",
    "default": "{}",
    "hot": "{slow: off, large: off, hot: on}",
    "all": "{slow: 10ms, large: 64KiB, hot: on}",
    "page": "{slow: 10ms, large: 64KiB, hot: on}",
}
CONFIG = """
listeners: [{{name: public, bind: "127.0.0.1:{port}", upstream: main, allow: [127.0.0.1], auth: trust}}]
upstreams: {{main: {{address: "127.0.0.1:{redis}", connections: {connections}}}}}
admin: {{bind: "127.0.0.1:{admin}"}}
observe: {observe}
workers: 1
"""
POLLED = ["/api/status", "/api/slowlog", "/api/bigkeys", "/api/hotkeys", "/api/clients"]
REQUESTS = 400_000
# The requests that callgrind counts for each depth of the pipeline. Those before them are not counted: the start spends
# random amounts on entropy, which are no part of a request.
COUNTED = {1: 20_000, 64: 256_000}
WARM_UP = 2000
KEYS = 100_000


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def await_port(port):
    end = time.monotonic() + 60
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), 5).close()
        except OSError:
            if time.monotonic() > end:
                sys.exit(f"no server on port {port}")
            time.sleep(0.05)


class Gate:
    """A gate with one worker."""

    def __init__(self, binary, redis, observe, connections="dedicated", before=()):
        self.folder = tempfile.TemporaryDirectory()
        self.port, self.admin = free_port(), free_port()
        path = pathlib.Path(self.folder.name, "portcullis.yaml")
        path.write_text(CONFIG.format(port=self.port, redis=redis, admin=self.admin, observe=observe, connections=connections))
        self.process = subprocess.Popen([*before, binary, "run", "--config", path], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        await_port(self.port)

    def cpu(self):
        """Returns the CPU time so far in seconds."""
        tasks = pathlib.Path(f"/proc/{self.process.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9

    def load(self, requests, pipeline, clients):
        subprocess.run(["redis-benchmark", "-p", str(self.port), "-c", str(clients), "-n", str(requests), "-P", str(pipeline),
                        "-r", str(KEYS), "-t", "get", "-q"], check=True, stdout=subprocess.DEVNULL)

    def stop(self):
        self.process.terminate()
        self.process.wait(60)
        self.folder.cleanup()


def watch(admin, over):
    """Does what an open page does, until `over` is set."""

    def follow():
        with urllib.request.urlopen(f"http://127.0.0.1:{admin}/api/events") as events:
            while not over.is_set():
                events.readline()

    threading.Thread(target=follow, daemon=True).start()
    while not over.wait(5):
        for path in POLLED:
            urllib.request.urlopen(f"http://127.0.0.1:{admin}{path}").read()


def measure(binary, redis, rounds):
    """Prints the CPU time per request at pipeline 64."""
    gates = {name: Gate(binary, redis, observe) for name, observe in OBSERVE.items()}
    over = threading.Event()
    threading.Thread(target=watch, args=(gates["page"].admin, over), daemon=True).start()
    found = {name: [] for name in gates}
    for turn in range(rounds):
        # The order changes, so that no gate always runs after the same one.
        for name in sorted(gates, key=lambda name: (list(gates).index(name) * (turn + 1)) % len(gates)):
            before = gates[name].cpu()
            gates[name].load(REQUESTS, 64, 8)
            found[name].append((gates[name].cpu() - before) / REQUESTS * 1e9)
    over.set()
    for gate in gates.values():
        gate.stop()
    # Other work on the machine only adds time, so the lower quartile says more than the median.
    columns = {"lower quartile": lambda values: statistics.quantiles(values, n=4)[0], "median": statistics.median}
    print("CPU per request at pipeline 64")
    for name, values in found.items():
        shown = [f"{title} {of(values):6.1f} ns {100 * (of(values) / of(found['off']) - 1):+5.1f} %" for title, of in columns.items()]
        print(f"  {name:8}", "   ".join(shown))


def instructions(binary, redis, observe, connections, requests, pipeline):
    with tempfile.TemporaryDirectory() as folder:
        out = f"{folder}/out"
        gate = Gate(binary, redis, observe, connections, ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}"])
        control = lambda option: subprocess.run(["callgrind_control", option, str(gate.process.pid)], check=True, capture_output=True)
        gate.load(WARM_UP, pipeline, 1)
        control("--zero")
        gate.load(requests, pipeline, 1)
        control("--dump")
        gate.stop()
        dumped = pathlib.Path(f"{out}.1").read_text()
    return int(re.search(r"^totals: (\d+)$", dumped, re.MULTILINE)[1]) / requests


def count(binary, redis):
    """Prints the instructions per request."""
    print("instructions per request")
    for connections in ("dedicated", "shared"):
        for pipeline, requests in COUNTED.items():
            found = {name: instructions(binary, redis, OBSERVE[name], connections, requests, pipeline) for name in ("off", "default", "all")}
            shown = "  ".join(f"{name} {value:.1f} ({100 * (value / found['off'] - 1):+.1f} %)" for name, value in found.items())
            print(f"  {connections:9}  pipeline {pipeline:2}:  {shown}", flush=True)


def main():
    binary, rounds, wanted = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    redis = free_port()
    server = subprocess.Popen(["redis-server", "--port", str(redis), "--bind", "127.0.0.1", "--save", ""], stdout=subprocess.DEVNULL)
    try:
        await_port(redis)
        subprocess.run(["redis-benchmark", "-p", str(redis), "-n", str(3 * KEYS), "-P", "64", "-r", str(KEYS), "-t", "set", "-q"],
                       check=True, stdout=subprocess.DEVNULL)
        if wanted != "instructions":
            measure(binary, redis, rounds)
        if wanted == "cpu":
            return
        if shutil.which("valgrind"):
            count(binary, redis)
        else:
            print("NOT CHECKED: instructions per request: valgrind is not installed")
    finally:
        server.terminate()
        server.wait(60)


main()
