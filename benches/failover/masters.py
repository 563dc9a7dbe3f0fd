"""A master, its replicas, and sentinels that watch them, each at a loopback address of its own."""

import os
import socket
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "peers"))
from client import command  # noqa: E402
from peers import free_port, write  # noqa: E402
from process import Failed, Peer  # noqa: E402

MASTER = "mymaster"
SERVERS = 3
SENTINELS = 3
# A killed master counts as down after this time. With less, a busy machine looks like a dead master.
DOWN_AFTER_MS = 2000
# Sentinels replace a killed master only when twice this time has passed since the last failover.
FAILOVER_TIMEOUT_MS = 3000
# Longer than a failover and the time until the sentinels make the old master a replica, which is ten seconds. A sentinel
# that gets no processor for two seconds stops acting for half a minute.
PATIENCE = 100


class Masters:
    def __init__(self, binary, folder, started, down_after=DOWN_AFTER_MS):
        self.folder, self.binary, self.started, self.down_after = folder, binary, started, down_after
        self.servers = []
        for number in range(SERVERS):
            self.servers.append(self.server(host(number), free_port(), self.servers[0] if number else None))
        self.master = self.servers[0]
        self.await_replicas()
        self.sentinels = [self.sentinel(host(SERVERS + number)) for number in range(SENTINELS)]
        self.await_sentinels()

    def server(self, ip, port, master):
        place = os.path.join(self.folder, ip)
        os.makedirs(place, exist_ok=True)
        # A file of its own: the sentinels make the server write it.
        config = write(place, "redis.conf", f"""
port {port}
bind {ip}
dir {place}
save ""
appendonly no
protected-mode no
repl-diskless-sync-delay 0
replica-announce-ip {ip}
{f'replicaof {master.host} {master.port}' if master else ''}
""")
        return self.keep(Peer("redis", port, [self.binary, config], host=ip))

    def keep(self, peer):
        self.started.append(peer)
        return peer

    def sentinel(self, ip):
        port, place = free_port(), os.path.join(self.folder, ip)
        os.makedirs(place)
        config = write(place, "sentinel.conf", f"""
port {port}
bind {ip}
dir {place}
protected-mode no
sentinel announce-ip {ip}
sentinel monitor {MASTER} {self.master.host} {self.master.port} 2
sentinel down-after-milliseconds {MASTER} {self.down_after}
sentinel failover-timeout {MASTER} {FAILOVER_TIMEOUT_MS}
""")
        return self.keep(Peer("sentinel", port, [self.binary, config, "--sentinel"], host=ip))

    def await_replicas(self):
        def ready():
            infos = [ask(server, b"INFO", b"replication") for server in self.servers]
            up = sum(b"master_link_status:up" in info for info in infos)
            # A master sends nothing to a replica that has loaded its data and has not said so: up to a second.
            online = sum(info.count(b",state=online,") for info in infos)
            return up == online == SERVERS - 1 and sum(b"role:master" in info for info in infos) == 1
        await_("one master with its replicas", ready)

    def await_sentinels(self):
        def ready():
            return all(b"status=ok" in info and b"slaves=2,sentinels=3" in info
                       for info in (ask(sentinel, b"INFO", b"sentinel") for sentinel in self.sentinels))
        await_("sentinels that know each other and the replicas", ready)

    def switch(self, kind):
        """Begins a failover. Returns the time of the first +switch-master, and the ports of both masters in it."""
        events = Events(self.sentinels)
        if kind == "planned":
            def accepted():
                return ask(self.sentinels[0], b"SENTINEL", b"FAILOVER", MASTER.encode()).startswith(b"+OK")
            await_("a sentinel that begins a failover", accepted)
        else:
            self.master.process.kill()
            self.master.process.wait()
        return events.first()

    def switched(self, port):
        """Starts the old master again if it was killed, waits until all are ready, and notes the master."""
        before, master = self.master, next(server for server in self.servers if server.port == port)
        if before.process.poll() is not None:
            again = self.server(before.host, before.port, master)
            self.servers[self.servers.index(before)] = again
        self.await_replicas()
        self.await_sentinels()
        # The sentinels may have taken the new master for dead meanwhile.
        self.master = next(server for server in self.servers if b"role:master" in ask(server, b"INFO", b"replication"))


def host(number):
    """An address that differs from the proxy's, so that what clients read can be searched for it."""
    return f"127.0.1.{number + 1}"


class Events:
    """Subscriptions to +switch-master at all sentinels."""

    def __init__(self, sentinels):
        self.found, self.seen = None, threading.Event()
        self.connections = []
        for sentinel in sentinels:
            connection = socket.create_connection((sentinel.host, sentinel.port), PATIENCE)
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
            words = said.split()
            self.found = (at, int(words[-3]), int(words[-1]))
            self.seen.set()

    def first(self):
        if not self.seen.wait(PATIENCE):
            raise Failed(f"no +switch-master within {PATIENCE} s")
        for connection in self.connections:
            connection.close()
        return self.found


def ask(peer, *words):
    try:
        with socket.create_connection((peer.host, peer.port), 5) as connection:
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
