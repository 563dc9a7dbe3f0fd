"""200 clients that pipeline GETs of 1 MiB and never read: memory, when they are cut, and what another client sees."""

import select
import time

import client
from process import forget_peak, peak, resident, settle
from rounds import medians, rounds, table

CLIENTS = 200
# Redis itself holds what a client does not read: 200 times this many MiB.
GETS = 8
VALUE = b"x" * (1 << 20)
# A write timeout of 30 s and what it takes to notice.
LONGEST = 45
# While these seconds last the values come; afterwards nothing moves until they are cut.
EARLY = 5
GONE = select.POLLRDHUP | select.POLLHUP | select.POLLERR


def measure(bench):
    clients = bench.scaled(CLIENTS, 20)
    longest = bench.options.patience
    with client.connect(bench.redis) as one:
        one.sendall(client.command(b"SET", b"wide", VALUE))
        one.recv(64)
    found = rounds(bench.running, 1, lambda peer: stalled(bench, peer, clients, longest))
    return {"clients": clients, "gets": GETS, "longest": longest, "peers": found}


def stalled(bench, peer, count, longest):
    settle(peer)
    redis = bench.redis
    quiet = client.pings(peer, lambda seconds: seconds > bench.options.quiet)
    forget_peak(peer)
    forget_peak(redis)
    before = resident(peer)
    watch, clients, cut = select.poll(), {}, []
    try:
        since = time.monotonic()
        for _ in range(count):
            one = client.connect(peer)
            one.sendall(client.command(b"GET", b"wide") * GETS)
            clients[one.fileno()] = one
            watch.register(one, GONE)

        def is_over(limit):
            for fd, _ in watch.poll(0):
                watch.unregister(fd)
                cut.append(time.monotonic() - since)
            return len(cut) == count or time.monotonic() - since > limit

        early = client.pings(peer, lambda _: is_over(min(EARLY, longest)))
        late = client.pings(peer, lambda _: is_over(longest))
        return {"before": before / 1024, "peak": peak(peer) / 1024, "redis_peak": peak(redis) / 1024, "cut": len(cut),
                "first": cut[0] if cut else None, "last": cut[-1] if cut else None,
                "quiet": client.quantile(quiet, 0.99), "early": client.quantile(early, 0.99),
                "late": client.quantile(late, 0.99), "worst": max(early + late, default=None)}
    finally:
        for one in clients.values():
            one.close()
        settle(peer)


def show(result):
    rows = [[name, *medians(one, before=".1f", peak=".1f", redis_peak=",.0f", cut=".0f", first=".1f", last=".1f",
                            quiet=".2f", early=".2f", late=".2f", worst=".1f")]
            for name, one in result["peers"].items()]
    heads = ["", "resident MiB before", "peak", "Redis peak", "cut", "first after s", "last after s",
             "PING p99 ms before", f"first {EARLY} s", "later", "worst"]
    return (f"#### {result['clients']} clients, {result['gets']} GETs of 1 MiB each, for {result['longest']} s "
            f"or until all are cut\n\n" + table(heads, rows, result["peers"]))
