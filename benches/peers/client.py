"""A Redis client of a few lines, and one that measures its PINGs."""

import socket
import time

PING = b"*1\r\n$4\r\nPING\r\n"
PONG = b"+PONG\r\n"
# linux/in.h; Python has no name for it before 3.12.
IP_BIND_ADDRESS_NO_PORT = 24
PAUSE = 0.002


def command(*words):
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


def connect(peer, timeout=10):
    client = socket.create_connection(("127.0.0.1", peer.port), timeout)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client


def ping(client):
    client.sendall(PING)
    try:
        said = client.recv(64)
    except TimeoutError:
        raise ConnectionError(f"no answer to PING in {client.gettimeout():.0f} s") from None
    if said != PONG:
        raise ConnectionError(f"PING was answered {said!r}" if said else "closed at PING")


def pings(peer, is_over, timeout=10):
    """Times a client's PINGs in ms: one, and one every 2 ms until `is_over`, which gets the seconds so far."""
    waits, since = [], time.monotonic()
    with connect(peer, timeout) as client:
        while not waits or not is_over(time.monotonic() - since):
            asked = time.monotonic()
            ping(client)
            waits.append((time.monotonic() - asked) * 1e3)
            time.sleep(PAUSE)
    return waits


def quantile(values, part):
    return sorted(values)[min(int(len(values) * part), len(values) - 1)] if values else None
