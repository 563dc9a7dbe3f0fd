"""The times of a client's PINGs while another client pipelines a million GETs."""

import client
from connections import result, spawned
from process import Failed, settle
from rounds import medians, rounds, spread, table

COMMANDS = 1_000_000
# The duration of the pipelining, so that there are enough PINGs beside it.
SECONDS = 3


def measure(bench):
    with client.connect(bench.redis) as one:
        one.sendall(client.command(b"SET", b"small", b"x" * 64))
        one.recv(64)
    commands = bench.scaled(COMMANDS, 50_000)
    found = rounds(bench.running, bench.options.rounds, lambda peer: beside(peer, commands, bench.options.quiet))
    return {"commands": commands, "peers": found}


def beside(peer, commands, least):
    settle(peer)
    quiet = client.pings(peer, lambda seconds: seconds > least)
    with spawned("pipeline", peer.port, commands, SECONDS if least >= 1 else 0) as load:
        busy = client.pings(peer, lambda _: load.poll() is not None)
        found = result(load)
    if found["unanswered"]:
        raise Failed(f"{found['unanswered']} of {commands} pipelined commands got no answer")
    return {"quiet": client.quantile(quiet, 0.99), "p50": client.quantile(busy, 0.5),
            "p99": client.quantile(busy, 0.99), "worst": max(busy), "rate": found["commands"] / found["seconds"]}


def show(found):
    rows = [[name, *medians(one, quiet=".2f", p50=".2f", p99=".2f"), spread(one, "p99", ".2f"),
             *medians(one, worst=".1f", rate=",.0f")] for name, one in found["peers"].items()]
    heads = ["", "PING p99 ms before", "p50 meanwhile", "p99 meanwhile", "spread", "worst", "pipelined/s"]
    return f"#### {found['commands']:,} GETs at once\n\n" + table(heads, rows, found["peers"])
