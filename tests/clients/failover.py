"""Masters that move, for clients: a master, two replicas and three sentinels before the proxy of a test.

    failover.py run REDIS_SERVER FOLDER      starts them, writes FOLDER/sentinels and FOLDER/inner-ports, runs until a signal
    failover.py failover SENTINEL...         a planned failover at HOST:PORT; returns when all sentinels name the new master
    failover.py tap PORTS_FILE LISTEN:TO...  forwards 127.0.0.1:LISTEN to 127.0.0.1:TO until a signal, and searches what
                                             clients read for inner addresses; exit 1 if there are any
"""

import asyncio
import os
import re
import signal
import sys
from types import SimpleNamespace

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "benches", "failover"))
from masters import MASTER, Masters, ask, await_  # noqa: E402

# A busy machine must not look like a dead master.
DOWN_AFTER_MS = 5000
# The bytes that are kept between two reads; no address with the text around it is longer.
KEPT = 128


def run(binary, folder):
    started = []
    try:
        masters = Masters(binary, folder, started, DOWN_AFTER_MS)
        everyone = [*masters.servers, *masters.sentinels]
        note(folder, "inner-ports", (str(peer.port) for peer in everyone))
        # The last file: it says that all are ready.
        note(folder, "sentinels", (f"{peer.host}:{peer.port}" for peer in masters.sentinels))
        signal.pause()
    finally:
        for peer in reversed(started):
            peer.stop()


def note(folder, name, words):
    path = os.path.join(folder, name)
    with open(path + ".new", "w") as file:
        file.write("\n".join(words) + "\n")
    os.rename(path + ".new", path)


def failover(*sentinels):
    peers = [SimpleNamespace(host=host, port=int(port)) for host, port in (at.split(":") for at in sentinels)]

    def named():
        return {ask(peer, b"INFO", b"sentinel").split(b"address=")[-1].split(b",")[0] for peer in peers}

    def accepted():
        return ask(peers[0], b"SENTINEL", b"FAILOVER", MASTER.encode()).startswith(b"+OK")

    before = named()
    await_("a sentinel that begins a failover", accepted)
    await_("sentinels that name one other master", lambda: len(named()) == 1 and named().isdisjoint(before))


class Tap:
    """Forwards, and keeps the inner addresses that clients read."""

    def __init__(self, ports):
        port = b"(?:" + b"|".join(port.encode() for port in ports) + rb")(?=\D)"
        self.inner = re.compile(
            rb"127\.0\.[12]\.\d|(?:port[=:]|[\d\]][:, ]|\$5\r\n)" + port + rb"|\$\d+\r\n[^\r\n]*\r\n:" + port)
        self.found, self.read = [], 0

    async def serve(self, client_reader, client_writer, to):
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", to)
        except OSError:
            client_writer.close()
            return
        await asyncio.gather(self.forward(client_reader, writer, False), self.forward(reader, client_writer, True))

    async def forward(self, reader, writer, searched):
        window = b""
        try:
            while data := await reader.read(65536):
                if searched:
                    window += data
                    self.read += len(data)
                    self.found += (window[max(0, at.start() - KEPT):at.end() + KEPT] for at in self.inner.finditer(window))
                    window = window[-KEPT:]
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        writer.close()


async def tap(ports_file, *pairs):
    with open(ports_file) as file:
        tap = Tap(file.read().split())
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    for listen, to in (pair.split(":") for pair in pairs):
        await asyncio.start_server(lambda reader, writer, to=int(to): tap.serve(reader, writer, to), "127.0.0.1", int(listen))
    await stopped.wait()
    for text in tap.found[:10]:
        print(f"a client read an inner address: {text}")
    print(f"{tap.read} bytes searched for inner addresses, {len(tap.found)} found")
    return 1 if tap.found or not tap.read else 0


if __name__ == "__main__":
    part, arguments = sys.argv[1], sys.argv[2:]
    if part == "run":
        signal.signal(signal.SIGTERM, lambda *_: sys.exit())
        run(*arguments)
    elif part == "failover":
        failover(*arguments)
    else:
        # Connections that are still open end with the process.
        code = asyncio.run(tap(*arguments))
        sys.stdout.flush()
        os._exit(code)
