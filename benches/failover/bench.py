"""Times a failover of real sentinels through the proxy and, in the same run, through HAProxy with a check of the role.

A client of each peer writes without a pause. For each failover the table shows, in milliseconds from the moment at
which the first sentinel publishes +switch-master: the first write that the new master acknowledged (negative: before
the event), and the writes that the old master acknowledged after the event; those are lost.
"""

import argparse
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "peers"))
from client import command  # noqa: E402
from peers import free_port, write  # noqa: E402
from process import Failed, Peer  # noqa: E402

MASTER = "mymaster"
SERVERS = 3
SENTINELS = 3
# A killed master counts as down after this time.
DOWN_AFTER_MS = 800
# Sentinels replace a killed master only when twice this time has passed since the last failover.
FAILOVER_TIMEOUT_MS = 3000
# A client waits this long before it connects again or, after a reply, writes again.
PAUSE = 0.001
# Longer than a failover and the time until the sentinels make the old master a replica, which is ten seconds.
PATIENCE = 40
# The write tells which server made it. INFO inside a script is not rewritten.
WRITE = command(b"EVAL", b"redis.call('INCR', KEYS[1]) return redis.call('INFO', 'server')", b"1", b"failover:writes")


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--portcullis", required=True, help="the binary")
    options.add_argument("--redis", default="redis-server", help="the redis-server binary")
    options.add_argument("--failovers", type=int, default=10, help="failovers of each kind (default 10)")
    options.add_argument("--peers", nargs="+", default=list(PEERS), choices=PEERS)
    options.add_argument("--kinds", nargs="+", default=["planned", "killed"], choices=["planned", "killed"])
    options.add_argument("--check", type=float, metavar="MS",
                         help="fail if the median of the proxy's planned failovers is later")
    options = options.parse_args()
    folder = tempfile.mkdtemp(prefix="failover-")
    started = []
    try:
        late = run(options, folder, started)
    except Failed as error:
        raise SystemExit(f"failover: {error}") from None
    finally:
        for peer in reversed(started):
            peer.stop()
        shutil.rmtree(folder)
    raise SystemExit(1 if late else 0)


def run(options, folder, started):
    masters = Masters(options.redis, folder, started)
    peers = [PEERS[name](folder, masters, options) for name in options.peers]
    started += peers
    late = False
    for kind in options.kinds:
        results = {peer.name: [] for peer in peers}
        for _ in range(options.failovers):
            for name, result in failover(masters, peers, kind).items():
                results[name].append(result)
        print(f"\n{kind} failovers: milliseconds from +switch-master to the first write on the new master\n")
        print("| | median | least | most | writes lost, median |\n|---|---:|---:|---:|---:|")
        for name, measured in results.items():
            waits, lost = [wait for wait, _ in measured], [lost for _, lost in measured]
            middle = statistics.median(waits)
            print(f"| {name} | {middle:.0f} | {min(waits):.0f} | {max(waits):.0f} | {statistics.median(lost):.0f} |")
            if kind == "planned" and name == "portcullis" and options.check is not None:
                late = late or middle > options.check
    return late


class Masters:
    """A master, its replicas, and sentinels that watch them, all on loopback."""

    def __init__(self, binary, folder, started):
        self.folder, self.binary, self.started = folder, binary, started
        self.servers = {}
        first = None
        for _ in range(SERVERS):
            port = free_port()
            self.servers[port] = self.server(port, first)
            first = first or port
        self.master = first
        self.await_replicas()
        self.sentinels = [self.sentinel(number) for number in range(SENTINELS)]
        self.await_sentinels()

    def server(self, port, master):
        place = os.path.join(self.folder, str(port))
        os.makedirs(place, exist_ok=True)
        # A file of its own: the sentinels make the server write it.
        config = write(place, "redis.conf", f"""
port {port}
bind 127.0.0.1
dir {place}
save ""
appendonly no
repl-diskless-sync-delay 0
{f'replicaof 127.0.0.1 {master}' if master else ''}
""")
        return self.keep(Peer("redis", port, [self.binary, config]))

    def keep(self, peer):
        self.started.append(peer)
        return peer

    def sentinel(self, number):
        port, place = free_port(), os.path.join(self.folder, f"sentinel{number}")
        os.makedirs(place)
        config = write(place, "sentinel.conf", f"""
port {port}
bind 127.0.0.1
dir {place}
sentinel monitor {MASTER} 127.0.0.1 {self.master} 2
sentinel down-after-milliseconds {MASTER} {DOWN_AFTER_MS}
sentinel failover-timeout {MASTER} {FAILOVER_TIMEOUT_MS}
""")
        return self.keep(Peer("sentinel", port, [self.binary, config, "--sentinel"]))

    def await_replicas(self):
        def ready():
            infos = [ask(port, b"INFO", b"replication") for port in self.servers]
            up = sum(b"master_link_status:up" in info for info in infos)
            return up == SERVERS - 1 and sum(b"role:master" in info for info in infos) == 1
        await_("one master with its replicas", ready)

    def await_sentinels(self):
        def ready():
            return all(b"status=ok" in info and b"slaves=2,sentinels=3" in info
                       for info in (ask(peer.port, b"INFO", b"sentinel") for peer in self.sentinels))
        await_("sentinels that know each other and the replicas", ready)

    def switch(self, kind):
        """Begins a failover. Returns the time of the first +switch-master and the port of the new master."""
        events = Events([peer.port for peer in self.sentinels])
        if kind == "planned":
            def accepted():
                return ask(self.sentinels[0].port, b"SENTINEL", b"FAILOVER", MASTER.encode()).startswith(b"+OK")
            await_("a sentinel that begins a failover", accepted)
        else:
            killed = self.servers[self.master]
            killed.process.kill()
            killed.process.wait()
        return events.first()


class Events:
    """Subscriptions to +switch-master at all sentinels."""

    def __init__(self, ports):
        self.found, self.seen = None, threading.Event()
        self.connections = []
        for port in ports:
            connection = socket.create_connection(("127.0.0.1", port), PATIENCE)
            connection.sendall(command(b"SUBSCRIBE", b"+switch-master"))
            connection.recv(4096)
            self.connections.append(connection)
            threading.Thread(target=self.listen, args=(connection,), daemon=True).start()

    def listen(self, connection):
        try:
            said = connection.recv(4096)
        except OSError:
            return
        at = time.monotonic()
        if said and not self.seen.is_set():
            # The message is: name, old address and port, new address and port.
            self.found = (at, int(said.split()[-1]))
            self.seen.set()

    def first(self):
        if not self.seen.wait(PATIENCE):
            raise Failed(f"no +switch-master within {PATIENCE} s")
        for connection in self.connections:
            connection.close()
        return self.found


class Writer(threading.Thread):
    """A client that writes without a pause. `written` has the time and the server of each acknowledged write."""

    def __init__(self, peer):
        super().__init__(daemon=True)
        self.peer, self.written, self.stopping = peer, [], False
        self.start()

    def run(self):
        client = None
        while not self.stopping:
            try:
                client = client or socket.create_connection(("127.0.0.1", self.peer.port), 10)
                client.sendall(WRITE)
                reply = receive(client)
            except (OSError, EOFError):
                if client:
                    client.close()
                client = None
                reply = b""
            if reply.startswith(b"$"):
                port = reply.split(b"tcp_port:")[1].split(b"\r\n")[0]
                self.written.append((time.monotonic(), int(port)))
            time.sleep(PAUSE)

    def stop(self):
        self.stopping = True
        self.join()
        return self.written


def failover(masters, peers, kind):
    """The wait and the lost writes of each peer, by its name."""
    writers = {peer.name: Writer(peer) for peer in peers}
    before = masters.master
    await_("writes through each peer", lambda: all(len(writer.written) > 20 for writer in writers.values()))
    at, port = masters.switch(kind)
    try:
        # HAProxy alternates between two masters until the old one is a replica.
        await_("writes on the new master through each peer", lambda: all(
            any(where == port for _, where in writer.written) for writer in writers.values()))
    finally:
        written = {name: writer.stop() for name, writer in writers.items()}
    masters.master = port
    if kind == "killed":
        masters.servers[before] = masters.server(before, port)
    masters.await_replicas()
    masters.await_sentinels()
    results = {}
    for name, writes in written.items():
        first = next(when for when, where in writes if where == port)
        # By then the old master sends nothing more to the server that has replaced it.
        lost = sum(1 for when, where in writes if where == before and when > at)
        results[name] = ((first - at) * 1e3, lost)
    return results


def portcullis(folder, masters, options):
    port, admin = free_port(), free_port()
    nodes = ", ".join(f"127.0.0.1:{peer.port}" for peer in masters.sentinels)
    config = write(folder, "portcullis.yaml", f"""
listeners:
  - name: public
    bind: 127.0.0.1:{port}
    upstream: main
    allow: [127.0.0.1]
    auth: trust
upstreams:
  main:
    sentinel: {{master: {MASTER}, nodes: [{nodes}]}}
admin: {{bind: 127.0.0.1:{admin}}}
workers: 1
""")
    return Peer("portcullis", port, [options.portcullis, "run", "--config", config])


def haproxy(folder, masters, _options):
    port = free_port()
    servers = "\n".join(f"  server s{number} 127.0.0.1:{server} check inter 1s on-marked-down shutdown-sessions"
                        for number, server in enumerate(masters.servers))
    config = write(folder, "haproxy.cfg", f"""
global
  nbthread 1
defaults
  mode tcp
  timeout connect 1s
  timeout client 1m
  timeout server 1m
listen redis
  bind 127.0.0.1:{port}
  option tcp-check
  tcp-check connect
  tcp-check send info\\ replication\\r\\n
  tcp-check expect string role:master
{servers}
""")
    return Peer("haproxy", port, ["haproxy", "-db", "-f", config])


PEERS = {"portcullis": portcullis, "haproxy": haproxy}


def ask(port, *words):
    try:
        with socket.create_connection(("127.0.0.1", port), 5) as connection:
            connection.sendall(command(*words))
            return receive(connection)
    except (OSError, EOFError):
        return b""


def receive(connection):
    """Receives a line, or a bulk string with its header."""
    said = b""
    while True:
        more = connection.recv(65536)
        if not more:
            raise EOFError
        said += more
        line, end, body = said.partition(b"\r\n")
        if end and (not line.startswith(b"$") or len(body) >= int(line[1:]) + 2):
            return said


def await_(what, ready):
    end = time.monotonic() + PATIENCE
    while not ready():
        if time.monotonic() > end:
            raise Failed(f"not within {PATIENCE} s: {what}")
        time.sleep(0.01)


if __name__ == "__main__":
    main()
