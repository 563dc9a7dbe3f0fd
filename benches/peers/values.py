"""One value of 512 MiB, the largest that Redis takes, set and read back, and the memory it takes to forward it."""

import time

import client
from process import Failed, forget_peak, peak, resident, settle
from rounds import medians, rounds, spread, table

SIZE = 512 << 20
PIECE = bytes(range(256)) * 4096  # 1 MiB
KEY = b"largest"
PATIENCE = 60


def measure(bench):
    pieces = max(round(SIZE / len(PIECE) * min(bench.options.scale, 1)), 16)
    found = rounds(bench.running, min(bench.options.rounds, 3), lambda peer: there_and_back(bench.redis, peer, pieces))
    return {"mib": pieces, "peers": found}


def there_and_back(redis, peer, pieces):
    settle(peer)
    forget_peak(peer)
    before = resident(peer)
    try:
        with client.connect(peer, PATIENCE) as one:
            set_seconds, after_set = timed(store, one, pieces), peak(peer)
            forget_peak(peer)
            get_seconds, after_get = timed(fetch, one, pieces), peak(peer)
    finally:
        with client.connect(redis, PATIENCE) as one:
            one.sendall(client.command(b"DEL", KEY))
            one.recv(64)
    return {"set": pieces / set_seconds, "get": pieces / get_seconds, "before": before / 1024,
            "set_peak": after_set / 1024, "get_peak": after_get / 1024}


def timed(action, *arguments):
    since = time.monotonic()
    action(*arguments)
    return time.monotonic() - since


def store(one, pieces):
    one.sendall(b"*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$%d\r\n" % (len(KEY), KEY, pieces * len(PIECE)))
    for _ in range(pieces):
        one.sendall(PIECE)
    one.sendall(b"\r\n")
    said = one.recv(256)
    if said != b"+OK\r\n":
        raise Failed(f"SET was answered {said!r}" if said else "closed at SET")


def fetch(one, pieces):
    one.sendall(client.command(b"GET", KEY))
    take(one, b"$%d\r\n" % (pieces * len(PIECE)))
    for _ in range(pieces):
        take(one, PIECE)
    take(one, b"\r\n")


def take(one, expected):
    """Reads the expected bytes and compares each."""
    got, data = 0, bytearray(len(expected))
    buffer = memoryview(data)
    while got < len(expected):
        read = one.recv_into(buffer[got:])
        if read == 0:
            raise Failed("closed at GET")
        got += read
    if data != expected:
        raise Failed(f"GET was answered otherwise than stored, at first {bytes(data[:60])!r}")


def show(result):
    rows = [[name, *medians(one, set=",.0f", get=",.0f", before=".1f", set_peak=".1f", get_peak=".1f"),
             spread(one, "get_peak", ".1f")] for name, one in result["peers"].items()]
    heads = ["", "SET MiB/s", "GET MiB/s", "resident MiB before", "peak at SET", "peak at GET", "spread"]
    return (f"#### {result['mib']} MiB: throughput, and resident memory of the forwarder (direct: of Redis)\n\n"
            + table(heads, rows, result["peers"]))
