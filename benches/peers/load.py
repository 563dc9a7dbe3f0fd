#!/usr/bin/env python3
"""Load from a separate process, so that it does not delay the measurements beside it.

    load.py flood PORT COUNT            connects from a source that is not let in, one after the other
    load.py pace PORT RATE SECONDS      connect, PING and close at a fixed rate, whether or not answers come
    load.py pipeline PORT COUNT SECONDS  that many GETs of the key `small` without waiting, replies read meanwhile; then
                                        the same again until the time is over

Prints what it found as a line of JSON.
"""

import collections
import json
import selectors
import socket
import sys
import threading
import time

import client
import process

# A connection that waits longer is given up.
PATIENCE = 5.0


def flood(port, count):
    refused = 0
    for _ in range(count):
        with socket.socket() as one:
            # The port is chosen at connect: thousands of closed connections still hold theirs.
            one.setsockopt(socket.IPPROTO_IP, client.IP_BIND_ADDRESS_NO_PORT, 1)
            one.bind(("127.0.0.2", 0))
            one.settimeout(PATIENCE)
            try:
                one.connect(("127.0.0.1", port))
                refused += one.recv(64) == b""
            except ConnectionError:
                refused += 1
    return {"refused": refused}


def pace(port, rate, seconds):
    """Measures waits from the time when a connection was due, so that a stall shows in all connections during it."""
    ready = selectors.DefaultSelector()
    waits, errors, due, started = [], collections.Counter(), {}, 0
    since = time.monotonic()
    while started < rate * seconds or due:
        now = time.monotonic()
        while started < rate * seconds and since + started / rate <= now:
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
            due[one] = since + started / rate
            ready.register(one, selectors.EVENT_WRITE)
            started += 1
        late = [one for one, when in due.items() if now - when > PATIENCE] if now - since > PATIENCE else []
        for one in late:
            finish(one, ready, due, errors, "timeout")
        pause = since + started / rate - now if started < rate * seconds else 0.1
        for key, events in ready.select(max(pause, 0)):
            step(key.fileobj, events, ready, due, waits, errors)
    ended = time.monotonic() - since
    return {"offered": rate * seconds, "answered": len(waits), "errors": dict(errors), "seconds": ended,
            "p50": client.quantile(waits, 0.5), "p99": client.quantile(waits, 0.99), "max": max(waits, default=None)}


def step(one, events, ready, due, waits, errors):
    try:
        if events & selectors.EVENT_WRITE:
            one.send(client.PING)
            ready.modify(one, selectors.EVENT_READ)
            return
        answered = one.recv(64) == client.PONG
        if answered:
            waits.append((time.monotonic() - due[one]) * 1e3)
        finish(one, ready, due, errors, None if answered else "closed")
    except OSError as error:
        finish(one, ready, due, errors, error.strerror)


def finish(one, ready, due, errors, error):
    ready.unregister(one)
    one.close()
    del due[one]
    if error:
        errors[error] += 1


def pipeline(port, count, seconds):
    together = min(1000, count)
    requests = client.command(b"GET", b"small") * together
    times = count // together
    commands = unanswered = 0
    with socket.create_connection(("127.0.0.1", port), 60) as one:
        one.sendall(client.command(b"GET", b"small"))
        reply = len(one.recv(4096))  # it is small enough to come at once
        since = time.monotonic()
        while not unanswered and (commands == 0 or time.monotonic() - since < seconds):
            sender = threading.Thread(target=lambda: [one.sendall(requests) for _ in range(times)])
            sender.start()
            commands += times * together
            unanswered = -(-(times * together * reply - read(one, times * together * reply)) // reply)
            sender.join()
        ended = time.monotonic() - since
    return {"commands": commands, "unanswered": unanswered, "seconds": ended}


def read(one, wanted):
    """Reads this number of bytes, or until the connection closes."""
    got = 0
    while got < wanted:
        more = len(one.recv(1 << 18))
        if more == 0:
            break
        got += more
    return got


if __name__ == "__main__":
    process.open_files()
    print(json.dumps({"flood": flood, "pace": pace, "pipeline": pipeline}[sys.argv[1]](*map(int, sys.argv[2:]))))
