"""The cost of connects: connect, PING and close; refused connects; a thousand a second for a while."""

import contextlib
import json
import subprocess
import sys
from pathlib import Path

import client
from process import Failed, Meter, settle
from rounds import medians, rounds, spread, table

LOAD = str(Path(__file__).with_name("load.py"))
CONNECTS, REFUSED = 3000, 20_000
RATE, SECONDS = 1000, 20


def measure(bench):
    connects, refused = bench.scaled(CONNECTS, 100), bench.scaled(REFUSED, 500)
    seconds = max(round(SECONDS * min(bench.options.scale, 1)), 1)
    times, quiet = bench.options.rounds, bench.options.quiet
    listed = [peer for peer in bench.forwarders if peer.sources]
    return {
        "connects": {"count": connects,
                     "peers": rounds(bench.forwarders, times, lambda peer: connected(peer, connects))},
        "refused": {"count": refused, "peers": rounds(listed, times, lambda peer: flooded(peer, refused, quiet))},
        "paced": {"rate": RATE, "seconds": seconds,
                  "peers": rounds(bench.running, min(times, 3), lambda peer: paced(peer, seconds))},
    }


def connected(peer, count):
    settle(peer)
    meter = Meter(peer)
    for _ in range(count):
        with client.connect(peer) as one:
            client.ping(one)
    settle(peer)
    return {"cpu": meter.total() / count * 1e6}


def flooded(peer, count, least):
    """Returns the cost without that of the PINGs, which was measured before."""
    settle(peer)
    meter = Meter(peer)
    quiet = client.pings(peer, lambda seconds: seconds > least)
    ping = meter.total() / len(quiet)
    meter = Meter(peer)
    with spawned("flood", peer.port, count) as flood:
        busy = client.pings(peer, lambda _: flood.poll() is not None)
        refused = result(flood)["refused"]
    settle(peer)
    if refused < count:
        raise Failed(f"let {count - refused} of {count} in that are not on its list")
    before, during = client.quantile(quiet, 0.99), client.quantile(busy, 0.99)
    return {"cpu": (meter.total() - len(busy) * ping) / count * 1e6, "before": before, "during": during,
            "times": during / before}


def paced(peer, seconds):
    settle(peer)
    meter = Meter(peer)
    with spawned("pace", peer.port, RATE, seconds) as pace:
        found = result(pace)
    settle(peer)
    return {"achieved": found["answered"] / found["seconds"], "errors": sum(found["errors"].values()),
            "kinds": found["errors"], "p50": found["p50"], "p99": found["p99"], "max": found["max"],
            "cpu": meter.total() / found["offered"] * 1e6}


@contextlib.contextmanager
def spawned(*arguments):
    """Load that ends with the block at the latest."""
    load = subprocess.Popen([sys.executable, LOAD, *map(str, arguments)], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True)
    try:
        yield load
    finally:
        if load.poll() is None:
            load.kill()
            load.communicate()


def result(load):
    """Returns the results of the load, after it has ended."""
    try:
        said, complained = load.communicate(timeout=120)
    except subprocess.TimeoutExpired:
        raise Failed("the load has no end after 120 s") from None
    if load.returncode:
        raise Failed(complained.strip().splitlines()[-1])
    return json.loads(said)


def show(found):
    text = [f"#### connect, PING and close: CPU us for each of {found['connects']['count']}\n"]
    results = found["connects"]["peers"]
    rows = [[name, *medians(one, cpu=".1f"), spread(one, "cpu", ".1f")] for name, one in results.items()]
    text.append(table(["", "CPU us", "spread"], rows, results))

    text.append(f"#### refused connects: CPU us for each of {found['refused']['count']}, and PINGs of a client "
                "that is let in\n")
    results = found["refused"]["peers"]
    rows = [[name, *medians(one, cpu=".1f"), spread(one, "cpu", ".1f"),
             *medians(one, before=".2f", during=".2f", times=".1f")] for name, one in results.items()]
    text.append(table(["", "CPU us", "spread", "PING p99 ms before", "in the flood", "ratio"], rows, results))

    text.append(f"#### {found['paced']['rate']} connects a second for {found['paced']['seconds']} s\n")
    results = found["paced"]["peers"]
    rows = [[name, *medians(one, achieved=",.0f"), str(sum(row["errors"] for row in one["rounds"])),
             *medians(one, p50=".2f", p99=".2f"), spread(one, "p99", ".2f"), *medians(one, max=".1f", cpu=".1f")]
            for name, one in results.items()]
    heads = ["", "answered/s", "errors in all", "p50 ms", "p99 ms", "spread", "worst ms", "CPU us each"]
    text.append(table(heads, rows, results))
    return "\n".join(text)
