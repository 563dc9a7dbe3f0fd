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
import tempfile
import threading
import time

from masters import MASTER, Masters, await_, receive  # first: it finds the modules of ../peers
from client import command
from peers import free_port, write
from process import Failed, Peer

# A client waits this long before it connects again or, after a reply, writes again.
PAUSE = 0.001
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
        while min(map(len, results.values())) < options.failovers:
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
    """The wait and the lost writes of each peer, by its name. Empty if the sentinels replaced another master meanwhile."""
    writers = {peer.name: Writer(peer) for peer in peers}
    before = masters.master.port
    await_("writes through each peer", lambda: all(len(writer.written) > 20 for writer in writers.values()))
    at, former, port = masters.switch(kind)
    try:
        # HAProxy alternates between two masters until the old one is a replica.
        await_("writes on the new master through each peer", lambda: all(
            any(where == port for _, where in writer.written) for writer in writers.values()))
    finally:
        written = {name: writer.stop() for name, writer in writers.items()}
    masters.switched(port)
    results = {}
    if former != before:
        return results
    for name, writes in written.items():
        first = next(when for when, where in writes if where == port)
        # By then the old master sends nothing more to the server that has replaced it.
        lost = sum(1 for when, where in writes if where == before and when > at)
        results[name] = ((first - at) * 1e3, lost)
    return results


def portcullis(folder, masters, options):
    port, admin = free_port(), free_port()
    nodes = ", ".join(f"{peer.host}:{peer.port}" for peer in masters.sentinels)
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
    servers = "\n".join(f"  server s{number} {server.host}:{server.port} check inter 1s on-marked-down shutdown-sessions"
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


if __name__ == "__main__":
    main()
