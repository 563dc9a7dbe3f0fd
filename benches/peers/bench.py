#!/usr/bin/env python3
"""Drives the same load through each forwarder in turn and prints medians of alternating rounds as Markdown.

CPU is that of the forwarder's processes, from /proc, in microseconds per request; `user` is its user-mode part. The
machine's speed drifts: only figures of one run may be compared, which is why every case goes round all peers before
it comes back to the first. redis-benchmark, Redis and the forwarder share the processors: throughput shows what is
left over, CPU per request what the forwarder costs.
"""

import argparse
import glob
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time

import peers

TICK = 1 / 100  # USER_HZ, the unit of /proc/PID/stat

CASES = {
    "get": ["-t", "get", "-c", "50", "-d", "64"],
    "get-1": ["-t", "get", "-c", "1", "-d", "64"],
    "get-1000": ["-t", "get", "-c", "1000", "-d", "64"],
    "set": ["-t", "set", "-c", "50", "-d", "64"],
    "get-p16": ["-t", "get", "-c", "50", "-d", "64", "-P", "16"],
    "get-p64": ["-t", "get", "-c", "50", "-d", "64", "-P", "64"],
    "set-p16": ["-t", "set", "-c", "50", "-d", "64", "-P", "16"],
    "get-4k": ["-t", "get", "-c", "50", "-d", "4096"],
    "get-1m": ["-t", "get", "-c", "10", "-d", "1048576"],
    "set-1m": ["-t", "set", "-c", "10", "-d", "1048576"],
}
REQUESTS = {"get-1": 20_000, "get-p16": 1_000_000, "set-p16": 1_000_000, "get-p64": 2_000_000,
            "get-1m": 1_000, "set-1m": 1_000}
IDLE_CLIENTS = 3000
REFUSED = 20_000
# In a process of its own: one that connects from a source that is not let in, again and again.
FLOOD = """
import socket, sys
for _ in range(int(sys.argv[2])):
    with socket.socket() as client:
        client.setsockopt(socket.IPPROTO_IP, 24, 1)
        client.bind(("127.0.0.2", 0))
        try:
            client.connect(("127.0.0.1", int(sys.argv[1])))
            client.recv(64)
        except OSError:
            pass  # refused
"""
# linux/in.h; Python has no name for it before 3.12.
IP_BIND_ADDRESS_NO_PORT = 24
CONNECTS = 3000


def main():
    options = arguments()
    raise_open_files()
    with tempfile.TemporaryDirectory() as folder:
        redis = peers.redis(folder, options.redis)
        running = [redis]
        try:
            for name in options.peers:
                if name.startswith("portcullis"):
                    start = getattr(peers, name.replace("-", "_"))
                    running.append(start(folder, redis.port, options.portcullis))
                else:
                    running.append(getattr(peers, name)(folder, redis.port))
            for case in options.cases:
                table(case, running, options.rounds, options.scale)
            if options.connections:
                connections(running, options.rounds)
                flood(running, options.rounds)
                idle(running)
        finally:
            for peer in running[::-1]:
                peer.stop()


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--portcullis", required=True)
    parser.add_argument("--redis", required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of requests a round")
    parser.add_argument("--cases", nargs="*", default=list(CASES), choices=list(CASES))
    parser.add_argument("--peers", nargs="*", default=["portcullis", "haproxy", "nginx", "rinetd", "twemproxy"])
    parser.add_argument("--connections", action=argparse.BooleanOptionalAction, default=True,
                        help="measure connects, refusals and idle clients as well")
    return parser.parse_args()


def table(case, running, rounds, scale):
    requests = max(int(REQUESTS.get(case, 100_000) * scale), 1000)
    # The key is there from here on, in the case's size.
    size = CASES[case][CASES[case].index("-d") + 1]
    subprocess.run(["redis-benchmark", "-p", str(running[0].port), "-t", "set", "-d", size, "-n", "10", "-q"],
                   check=True, capture_output=True)
    results = {peer.name: [] for peer in running}
    for _ in range(rounds):
        for peer in running:
            results[peer.name].append(measure(peer, case, requests))
    print(f"\n### {case}: redis-benchmark {' '.join(CASES[case])} -n {requests}, medians of {rounds} rounds\n")
    print("| | requests/s | of direct | p50 ms | p99 ms | CPU us/request | user | of haproxy's CPU | spread |")
    print("|---|---|---|---|---|---|---|---|---|")
    of = {name: [statistics.median(column) for column in zip(*rows)] for name, rows in results.items()}
    for name, (rps, p50, p99, cpu, user) in of.items():
        base = of.get("haproxy", [0] * 5)[3]
        ratio = f"{cpu / base:.2f}" if base and name != "direct" else ""
        cpus = [row[3] for row in results[name]]
        spread = f"{min(cpus):.2f}-{max(cpus):.2f}"
        own = ("", "", "", "") if name == "direct" else (f"{cpu:.2f}", f"{user:.2f}", ratio, spread)
        print(f"| {name} | {rps:,.0f} | {rps / of['direct'][0]:.2f} | {p50:.2f} | {p99:.2f} | {' | '.join(own)} |")
    sys.stdout.flush()


def load(peer, case, requests):
    return ["redis-benchmark", "-p", str(peer.port), "--csv", "-n", str(requests), *CASES[case]]


def measure(peer, case, requests):
    cpu, user = spent(peer)
    done = subprocess.run(load(peer, case, requests), check=True, capture_output=True, text=True, timeout=600)
    cpu, user = (after - before for after, before in zip(spent(peer), (cpu, user)))
    # "test","rps","avg","min","p50","p95","p99","max"
    fields = done.stdout.strip().splitlines()[-1].replace('"', "").split(",")
    return float(fields[1]), float(fields[4]), float(fields[6]), cpu / requests * 1e6, user / requests * 1e6


def spent(peer):
    """Seconds of CPU in all, and in user mode, of all processes and threads."""
    total = user = 0.0
    for pid in peer.pids:
        fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
        user += int(fields[11]) * TICK
        total += (int(fields[11]) + int(fields[12])) * TICK
    return total, user


def connections(running, rounds):
    print(f"\n### connections: CPU us of the forwarder, medians of {rounds} rounds of {CONNECTS}\n")
    print("| | connect + PING + close |\n|---|---|")
    served = {peer.name: [] for peer in running[1:]}
    for _ in range(rounds):
        for peer in running[1:]:
            served[peer.name].append(cost(peer, "127.0.0.1", True))
    for name, costs in served.items():
        print(f"| {name} | {statistics.median(costs):.1f} |")
    sys.stdout.flush()


def flood(running, rounds):
    print(f"\n### refused connects: CPU us of the forwarder for each of {REFUSED}, and what a client that is let in"
          f" sees meanwhile, medians of {rounds} rounds\n")
    print("| | CPU us | spread | PING p99 ms before | in the flood | ratio |\n|---|---|---|---|---|---|")
    peers = [peer for peer in running[1:] if peer.name != "twemproxy"]  # it has no list of sources
    costs = {peer.name: [] for peer in peers}
    waits = {peer.name: [] for peer in peers}
    for _ in range(rounds):
        for peer in peers:
            before = on_cpu(peer)
            quiet, pings = p99(peer, lambda since: time.monotonic() - since > 2)
            ping = (on_cpu(peer) - before) / pings
            before = on_cpu(peer)
            flooder = subprocess.Popen([sys.executable, "-c", FLOOD, str(peer.port), str(REFUSED)])
            busy, pings = p99(peer, lambda _: flooder.poll() is not None)
            time.sleep(0.3)
            costs[peer.name].append((on_cpu(peer) - before - pings * ping) / REFUSED * 1e6)
            waits[peer.name].append((quiet, busy, busy / quiet))
    for name, values in costs.items():
        quiet, busy, ratio = (statistics.median(column) for column in zip(*waits[name]))
        print(f"| {name} | {statistics.median(values):.1f} | {min(values):.1f}-{max(values):.1f} "
              f"| {quiet:.2f} | {busy:.2f} | {ratio:.1f} |")
    sys.stdout.flush()


def on_cpu(peer):
    """Seconds of CPU of all processes and threads that there are, exact where `spent` counts ticks."""
    threads = (path for pid in peer.pids for path in glob.glob(f"/proc/{pid}/task/*/schedstat"))
    return sum(int(open(path).read().split()[0]) for path in threads) / 1e9


def p99(peer, is_over):
    """99th percentile, in ms, of a client's PINGs, one every 2 ms, and how many there were."""
    waits, since = [], time.monotonic()
    with socket.create_connection(("127.0.0.1", peer.port)) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while not is_over(since):
            asked = time.monotonic()
            client.sendall(b"*1\r\n$4\r\nPING\r\n")
            client.recv(64)
            waits.append(time.monotonic() - asked)
            time.sleep(0.002)
    return sorted(waits)[int(len(waits) * 0.99)] * 1e3, len(waits)


def cost(peer, source, ping):
    before, _ = spent(peer)
    for _ in range(CONNECTS):
        with socket.socket() as client:
            # The port is chosen at connect: thousands of closed connections still hold theirs.
            client.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
            client.bind((source, 0))
            try:
                client.connect(("127.0.0.1", peer.port))
                if ping:
                    client.sendall(b"*1\r\n$4\r\nPING\r\n")
                client.recv(64)
            except OSError:
                pass  # refused
    time.sleep(0.3)
    return (spent(peer)[0] - before) / CONNECTS * 1e6


def idle(running):
    print(f"\n### idle clients: resident KiB for each of {IDLE_CLIENTS} after one PING\n\n| | KiB |\n|---|---|")
    for peer in running[1:]:
        if peer.name == "rinetd":
            continue  # select(2): no more than 1024 descriptors
        before = resident(peer)
        clients = []
        for _ in range(IDLE_CLIENTS):
            client = socket.create_connection(("127.0.0.1", peer.port))
            client.sendall(b"*1\r\n$4\r\nPING\r\n")
            client.recv(64)
            clients.append(client)
        time.sleep(1)
        print(f"| {peer.name} | {(resident(peer) - before) / IDLE_CLIENTS:.1f} |")
        for client in clients:
            client.close()
        time.sleep(1)
    sys.stdout.flush()


def resident(peer):
    lines = (line for pid in peer.pids for line in open(f"/proc/{pid}/status"))
    return sum(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def raise_open_files():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


if __name__ == "__main__":
    main()
