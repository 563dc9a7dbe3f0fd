"""A Redis Cluster of three nodes behind each proxy that knows clusters, beside one Redis behind Portcullis.

Clients are plain ones, without a cluster mode: the proxy finds the node of each key. Keys are random among many, so
that the load is spread over the nodes. `portcullis` is one Redis behind Portcullis, to which the goals compare.
"""

import subprocess
import time

import peers
from process import Failed, Meter, settle
from rounds import medians, ratio, rounds, shown, spread, table

NODES = 3
SLOTS = 16384
# Keys of the load: far more than nodes, far fewer than fill the memory.
KEYS = ["-r", "100000"]
CASES = {
    "get": ["-t", "get", "-c", "50", "-d", "64", *KEYS],
    "set": ["-t", "set", "-c", "50", "-d", "64", *KEYS],
    "get-p16": ["-t", "get", "-c", "50", "-d", "64", "-P", "16", *KEYS],
    "set-p16": ["-t", "set", "-c", "50", "-d", "64", "-P", "16", *KEYS],
}
REQUESTS = {"get-p16": 1_000_000, "set-p16": 1_000_000}
# Seconds in which three nodes on one machine find each other.
PATIENCE = 30
# Far more seconds than the slowest case takes.
LONGEST = 120
HEADS = ["", "requests/s", "spread", "p50 ms", "p99 ms", "CPU us", "spread", "user", "of portcullis", "of envoy"]


def measure(bench):
    nodes = [peers.redis(bench.folder, bench.options.redis, cluster=True) for _ in range(NODES)]
    bench.processes.extend(nodes)
    join(nodes)
    started, absent = [], {}
    for name in peers.OF_CLUSTERS:
        try:
            started.append(peers.of_cluster(name, bench.folder, nodes, bench.options, bench.redis))
            bench.processes.append(started[-1])
        except (Failed, OSError, SystemExit) as error:
            absent[name] = str(error)
    found = {case: measured(bench, started, case) for case in CASES} if started else {}
    return {"absent": absent, "cases": found}


def measured(bench, started, case):
    requests = max(int(REQUESTS.get(case, 100_000) * bench.options.scale), 200)
    return {"load": f"redis-benchmark {' '.join(CASES[case])} -n {requests}",
            "peers": rounds(started, bench.options.rounds, lambda peer: load(peer, CASES[case], requests))}


def load(peer, arguments, requests):
    """One run of redis-benchmark: times in ms, CPU in microseconds a request."""
    settle(peer)
    mine = Meter(peer)
    rps, p50, p99 = benchmark(peer, [*arguments, "-n", str(requests)])
    settle(peer)
    per = 1e6 / requests
    return {"rps": rps, "p50": p50, "p99": p99, "cpu": mine.total() * per, "user": mine.user() * per}


def benchmark(peer, arguments):
    # Not `cases.benchmark`: an error in the middle of a run, such as MOVED, must fail it.
    command = ["redis-benchmark", "-p", str(peer.port), "--precision", "3", "--csv", "-e", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST)
    except subprocess.TimeoutExpired:
        raise Failed(f"redis-benchmark has no end after {LONGEST} s") from None
    if "Error from server" in done.stdout + done.stderr:
        raise Failed("redis-benchmark read an error")
    last = (done.stdout.strip().splitlines() or [""])[-1]
    fields = last.replace('"', "").split(",")
    if done.returncode or len(fields) != 8 or fields[1] == "rps":
        raise Failed(f"redis-benchmark: {(done.stderr or done.stdout).strip()[-200:]}")
    return float(fields[1]), float(fields[4]), float(fields[6])


def join(nodes):
    """Gives each node its slots, and introduces all of them to the first."""
    for number, node in enumerate(nodes):
        start, end = SLOTS * number // NODES, SLOTS * (number + 1) // NODES - 1
        ask(node, "CLUSTER", "SET-CONFIG-EPOCH", str(number + 1))
        ask(node, "CLUSTER", "ADDSLOTSRANGE", str(start), str(end))
    for node in nodes[1:]:
        ask(nodes[0], "CLUSTER", "MEET", "127.0.0.1", str(node.port))
    end = time.monotonic() + PATIENCE
    while not all("cluster_state:ok" in ask(node, "CLUSTER", "INFO") for node in nodes):
        if time.monotonic() > end:
            raise Failed("the nodes do not find each other")
        time.sleep(0.1)


def ask(node, *words):
    command = ["redis-cli", "-p", str(node.port), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def show(result):
    text = [f"{name}: {why}.\n" for name, why in result["absent"].items()]
    for case, found in result["cases"].items():
        results = found["peers"]
        rows = [[name, *medians(one, rps=",.0f"), spread(one, "rps", ",.0f"),
                 *medians(one, p50=".2f", p99=".2f", cpu=".2f"), spread(one, "cpu", ".2f"), *medians(one, user=".2f"),
                 *(shown(ratio(results, name, base, "cpu"), ".2f") for base in ("portcullis", "envoy-cluster"))]
                for name, one in results.items()]
        text.append(f"#### {case}: `{found['load']}`\n\n{table(HEADS, rows, results)}")
    return "\n".join(text)
