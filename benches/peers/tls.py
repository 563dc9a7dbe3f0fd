"""TLS to the clients, the same certificate for all, and none to Redis (nor for direct): requests, and connecting."""

import socket
import ssl

import cases
import client
import peers
from process import Meter, settle
from rounds import medians, ratio, rounds, shown, spread, table

CASES = ["get", "get-p16"]
CONNECTS = 1000


def measure(bench):
    certificate = peers.certificate(bench.folder)
    wanted = [name for name in bench.options.peers if name in peers.WITH_TLS]
    started, absent = bench.start(wanted, certificate)
    try:
        running = [bench.redis, *started]
        count = bench.scaled(CONNECTS, 50)
        connects = rounds(started, bench.options.rounds, lambda peer: connected(peer, count))
        return {"absent": absent, "session": {peer.name: session(peer) for peer in started},
                "cases": {case: cases.measured(bench, running, case) for case in CASES},
                "connects": {"count": count, "peers": connects}}
    finally:
        for peer in started:
            peer.stop()


def session(peer):
    """Returns the negotiated version and cipher, which should be the same for all."""
    with secured(peer) as one:
        return f"{one.version()} {one.cipher()[0]}"


def secured(peer):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context.wrap_socket(socket.create_connection(("127.0.0.1", peer.port), 10))


def connected(peer, count):
    settle(peer)
    meter = Meter(peer)
    for _ in range(count):
        with secured(peer) as one:
            client.ping(one)
    settle(peer)
    return {"cpu": meter.total() / count * 1e6}


def show(result):
    text = [f"{name}: {why}.\n" for name, why in result["absent"].items()]
    text.append(cases.show(result["cases"], " with TLS, handshakes included"))
    found = result["connects"]["peers"]
    rows = [[name, result["session"][name], *medians(one, cpu=".0f"), spread(one, "cpu", ".0f"),
             shown(ratio(found, name, "haproxy", "cpu"), ".2f")] for name, one in found.items()]
    text.append(f"#### connect, handshake, PING and close: CPU us for each of {result['connects']['count']}\n")
    text.append(table(["", "session", "CPU us", "spread", "of haproxy's"], rows, found))
    return "\n".join(text)
