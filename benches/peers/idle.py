"""Resident memory for each idle client after one PING, each count with a fresh process."""

import time

import client
from process import Failed, resident, settle
from rounds import medians, rounds, spread, table

CLIENTS = [3000, 9000]
SPARE_FILES = 500
# The time limit for all answers, in seconds.
PATIENCE = 60


def measure(bench):
    counts = [bench.scaled(count, 100) for count in CLIENTS]
    fits = [count for count in counts if 2 * count + SPARE_FILES <= bench.files]
    times = min(bench.options.rounds, 3)
    found = {str(count): {"peers": rounds(bench.forwarders, times, lambda peer: held(peer, count))} for count in fits}
    absent = {str(count): {"absent": f"needs {2 * count + SPARE_FILES} open files, {bench.files} are allowed"}
              for count in counts if count not in fits}
    return {**found, **absent}


def held(peer, count):
    peer.restart()
    with client.connect(peer) as first:
        client.ping(first)  # what the first client brings with it is not every client's
        settle(peer)
        before = resident(peer)
        clients, end = [], time.monotonic() + PATIENCE
        try:
            for _ in range(count):
                clients.append(client.connect(peer))
                client.ping(clients[-1])
                if time.monotonic() > end:
                    raise Failed(f"served {len(clients)} of {count} clients in {PATIENCE} s")
            settle(peer)
            return {"kib": (resident(peer) - before) / count}
        finally:
            for one in clients:
                one.close()
            settle(peer)


def show(result):
    text = [f"{count} clients: {found['absent']}\n" for count, found in result.items() if "absent" in found]
    for count, found in result.items():
        if "peers" in found:
            rows = [[name, *medians(one, kib=".2f"), spread(one, "kib", ".2f")]
                    for name, one in found["peers"].items()]
            text.append(f"#### {count} idle clients: resident KiB for each\n\n"
                        + table(["", "KiB", "spread"], rows, found["peers"]))
    return "\n".join(text)
