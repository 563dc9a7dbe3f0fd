"""A cluster for clients: three masters and three replicas before the proxy of a test.

    nodes.py run REDIS_SERVER FOLDER    starts them, writes FOLDER/nodes and FOLDER/inner-ports, runs until a signal
    nodes.py move NODES_FILE KEY...     moves the slot of each key to another master
    nodes.py failover NODES_FILE        a planned failover of each master, with CLUSTER FAILOVER
"""

import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "benches", "failover"))
from failover import note  # noqa: E402
from masters import await_  # noqa: E402
from peers import free_port, write  # noqa: E402
from process import Peer  # noqa: E402

MASTERS = 3
SLOTS = 16384
# A busy machine must not look like a dead master.
NODE_TIMEOUT_MS = 15000
# The keys that one MIGRATE moves.
KEYS = 100
# Seconds in which clients use a slot in each state of its move.
IN_EACH_STATE = 0.3
# Seconds after which a replica has given up its failover, if it did not get the votes.
GIVES_UP = 6


def run(binary, folder):
    nodes = []
    try:
        for number in range(2 * MASTERS):
            nodes.append(start(binary, folder, f"127.0.2.{101 + number}"))
        join(nodes)
        note(folder, "inner-ports", (str(node.port) for node in nodes))
        # The last file: it says that all are ready.
        note(folder, "nodes", (f"{node.host}:{node.port}" for node in nodes))
        signal.pause()
    finally:
        for node in nodes:
            node.stop()


def start(binary, folder, host):
    port, place = free_port(), os.path.join(folder, host)
    os.makedirs(place)
    config = write(place, "redis.conf", f"""
port {port}
bind {host}
dir {place}
save ""
appendonly no
protected-mode no
cluster-enabled yes
cluster-node-timeout {NODE_TIMEOUT_MS}
cluster-announce-ip {host}
cluster-allow-replica-migration no
repl-diskless-sync-delay 0
""")
    return Peer("redis", port, [binary, config], host=host)


def join(nodes):
    for number, master in enumerate(nodes[:MASTERS]):
        ask(master, "CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        ask(master, "CLUSTER", "ADDSLOTSRANGE", SLOTS * number // MASTERS, SLOTS * (number + 1) // MASTERS - 1)
    for node in nodes[1:]:
        ask(nodes[0], "CLUSTER", "MEET", node.host, node.port)
    await_("nodes that know each other",
           lambda: all(len(told(node)) == len(nodes) and "handshake" not in ask(node, "CLUSTER", "NODES") for node in nodes))
    for master, replica in zip(nodes, nodes[MASTERS:]):
        ask(replica, "CLUSTER", "REPLICATE", ask(master, "CLUSTER", "MYID"))
    await_("a cluster whose replicas have the data", lambda: is_ready(nodes))


def is_ready(nodes):
    up = [node for node in nodes if "master_link_status:up" in ask(node, "INFO", "replication")]
    return len(up) == len(nodes) - MASTERS and all(
        "cluster_state:ok" in ask(node, "CLUSTER", "INFO")
        and len([fields for fields in told(node).values() if "master" in fields[2] and fields[8:]]) == MASTERS for node in nodes)


def told(node):
    """Returns the fields of CLUSTER NODES of each node, by its address."""
    lines = (line.split(" ") for line in ask(node, "CLUSTER", "NODES").splitlines() if line)
    return {fields[1].split("@")[0]: fields for fields in lines}


def move(nodes, *keys):
    for key in keys:
        slot = int(ask(nodes[0], "CLUSTER", "KEYSLOT", key))
        masters = [node for node in nodes if is_master(node)]
        source = next(node for node in masters if owns(node, slot))
        target = masters[(masters.index(source) + 1) % len(masters)]
        owner = ask(target, "CLUSTER", "MYID")
        ask(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", ask(source, "CLUSTER", "MYID"))
        ask(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", owner)
        time.sleep(IN_EACH_STATE)
        while found := ask(source, "CLUSTER", "GETKEYSINSLOT", slot, KEYS).split():
            ask(source, "MIGRATE", target.host, target.port, "", 0, 5000, "KEYS", *found)
        time.sleep(IN_EACH_STATE)
        for node in (target, source, *masters):
            ask(node, "CLUSTER", "SETSLOT", slot, "NODE", owner)


def owns(node, slot):
    ranges = next(fields for fields in told(node).values() if "myself" in fields[2])[8:]
    bounds = (part.split("-") for part in ranges if not part.startswith("["))
    return any(int(bound[0]) <= slot <= int(bound[-1]) for bound in bounds)


def failover(nodes):
    """Each replica takes the place of its master."""
    for replica in [node for node in nodes if not is_master(node)]:
        while not is_master(replica):
            ask(replica, "CLUSTER", "FAILOVER")
            end = time.monotonic() + GIVES_UP
            while not is_master(replica) and time.monotonic() < end:
                time.sleep(0.05)
        await_("a cluster that is ready again", lambda: is_ready(nodes))


def is_master(node):
    return "role:master" in ask(node, "INFO", "replication")


def ask(node, *words):
    command = ["redis-cli", "-e", "-h", node.host, "-p", str(node.port), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    part, place, *arguments = sys.argv[1:]
    if part == "run":
        signal.signal(signal.SIGTERM, lambda *_: sys.exit())
        run(place, *arguments)
    else:
        with open(place) as file:
            at = [line.rsplit(":", 1) for line in file.read().split()]
        known = [SimpleNamespace(host=host, port=int(port)) for host, port in at]
        {"move": move, "failover": failover}[part](known, *arguments)
