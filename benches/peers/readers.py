"""200 clients pipeline GETs of 1 MiB and never read: memory, the time of the cut, and the effect on another client."""

import threading
import time

import client
from process import forget_peak, peak, resident, settle
from rounds import medians, rounds, table

CLIENTS = 200
# Redis itself holds the unread replies: 200 times this many MiB.
GETS = 8
VALUE = b"x" * (1 << 20)
# A write timeout of 30 s, and the time to notice it.
LONGEST = 45
# The values arrive in these seconds; afterwards no bytes move until the clients are cut.
EARLY = 5
# The time limit of a PING in seconds: its delay is the measurement.
PATIENCE = 60
# The interval of the check for closed sockets, in seconds.
LOOK = 0.1
ESTABLISHED = "01"


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
    quiet = client.pings(peer, lambda seconds: seconds > bench.options.quiet)
    forget_peak(peer)
    forget_peak(bench.redis)
    before = resident(peer)
    clients = [client.connect(peer) for _ in range(count)]
    cuts = Cuts(peer, clients)
    try:
        for one in clients:
            one.sendall(client.command(b"GET", b"wide") * GETS)
        cuts.start()
        early = client.pings(peer, lambda _: cuts.all_by(min(EARLY, longest)), PATIENCE)
        late = client.pings(peer, lambda _: cuts.all_by(longest), PATIENCE)
        return {"before": before / 1024, "peak": peak(peer) / 1024, "redis_peak": peak(bench.redis) / 1024,
                "cut": cuts.seen, "first": cuts.first, "last": cuts.last if cuts.seen == count else None,
                "quiet": client.quantile(quiet, 0.99), "early": client.quantile(early, 0.99),
                "late": client.quantile(late, 0.99), "worst": max(early + late, default=None)}
    finally:
        cuts.over.set()
        for one in clients:
            one.close()
        settle(peer)


class Cuts(threading.Thread):
    """Counts and times the clients closed by the peer, from its sockets: a client that never reads does not see it."""

    def __init__(self, peer, clients):
        super().__init__(daemon=True)
        self.peer, self.over = f":{peer.port:04X}", threading.Event()
        self.clients = {f":{one.getsockname()[1]:04X}" for one in clients}
        self.since = time.monotonic()
        self.seen, self.first, self.last = 0, None, None

    def run(self):
        while not self.over.wait(LOOK):
            seen, now = len(self.clients) - self.established(), time.monotonic() - self.since
            if seen > self.seen:
                self.first, self.last, self.seen = self.first or now, now, seen

    def all_by(self, limit):
        """Whether all are closed, or so many seconds are over."""
        return self.seen >= len(self.clients) or time.monotonic() - self.since > limit

    def established(self):
        with open("/proc/net/tcp") as file:
            sockets = (line.split() for line in file)
            return sum(here.endswith(self.peer) and there[-5:] in self.clients and state == ESTABLISHED
                       for _, here, there, state, *_ in sockets)


def show(result):
    rows = [[name, *medians(one, before=".1f", peak=".1f", redis_peak=",.0f", cut=".0f", first=".1f", last=".1f",
                            quiet=".2f", early=".2f", late=".2f", worst=".1f")]
            for name, one in result["peers"].items()]
    heads = ["", "resident MiB before", "peak", "Redis peak", "cut", "first after s", "last after s",
             "PING p99 ms before", f"first {EARLY} s", "later", "worst"]
    return (f"#### {result['clients']} clients, {result['gets']} GETs of 1 MiB each, for {result['longest']} s "
            f"or until all are cut\n\n" + table(heads, rows, result["peers"]))
