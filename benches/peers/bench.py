#!/usr/bin/env python3
"""Drives the same load through each forwarder in turn and prints medians of alternating rounds as Markdown.

CPU is that of the forwarder's processes and threads, exact, in microseconds per request; `user` is its user-mode part,
which the kernel tells in ticks of 10 ms, over all rounds. The machine's speed drifts: only figures of one run may be
compared, which is why every case goes round all peers before it comes back to the first, and ratios are medians of
ratios within a round. The load generator, Redis and the forwarder share the processors: throughput shows what is left
over, CPU per request what the forwarder costs.

Parts: cases (redis-benchmark at many settings), growth (cost per request from 1 to 9000 clients), connections
(connects, refused connects, a thousand connects a second), idle (memory of idle clients), values (512 MiB: some 3 GiB
of memory are needed), readers (200 clients that never read: 2 GiB), fairness (PINGs beside a million pipelined
commands), tls, cluster (plain clients before three nodes; only where it is asked for).
"""

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cases
import cluster
import connections
import fairness
import goals
import growth
import idle
import peers
import process
import readers
import report
import tls
import values

PARTS = {"cases": cases, "growth": growth, "connections": connections, "idle": idle, "values": values,
         "readers": readers, "fairness": fairness, "tls": tls, "cluster": cluster}
LEFT_OUT = "left out, "
QUICK = {"rounds": 1, "scale": 0.02, "clients": [50, 1000], "patience": 2, "quiet": 0.3}


def main():
    options = arguments()
    if options.show:
        text = report.shown(PARTS, report.kept(options.show))
        return report.insert(text, options.into) if options.into else print(text)
    files = process.open_files()
    # The started processes stop then as well.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(options, folder, files)
        try:
            bench.begin()
            results = run(bench)
        finally:
            bench.stop()
    if options.strict and any(word in json.dumps(results) for word in ('"failed"', LEFT_OUT)):
        sys.exit("not all of it worked: see above")
    if options.charts:
        subprocess.run([Path(__file__).with_name("chart.py"), options.json, options.charts], check=True)


class Bench:
    """Redis, called `direct`, and the forwarders before it, all running from `begin` to `stop`."""

    def __init__(self, options, folder, files):
        self.options, self.folder, self.files = options, folder, files
        self.processes = []

    def begin(self):
        self.redis = peers.redis(self.folder, self.options.redis)
        self.processes.append(self.redis)
        started, self.absent = self.start(self.options.peers)
        self.forwarders = [peer for peer in started if peer.name not in peers.ONLY]
        self.only = [peer for peer in started if peer.name in peers.ONLY]

    def start(self, names, certificate=None):
        """Returns the peers that start, and the reasons of those that do not."""
        started, absent = [], {}
        for name in names:
            try:
                started.append(peers.start(name, self.folder, self.redis.port, self.options, certificate))
                self.processes.append(started[-1])
            except (process.Failed, OSError) as error:
                absent[name] = f"{LEFT_OUT}{error}"
                print(f"{name}: {absent[name]}", file=sys.stderr)
        return started, absent

    @property
    def running(self):
        return [self.redis, *self.forwarders]

    def running_in(self, case):
        return [*self.running, *(peer for peer in self.only if case in peers.ONLY[peer.name])]

    def scaled(self, count, least):
        return max(round(count * min(self.options.scale, 1)), least)

    def stop(self):
        for peer in self.processes[::-1]:
            peer.stop()


def run(bench):
    options = bench.options
    conditions = {"machine": report.machine(), "versions": report.versions(options), "rounds": options.rounds,
                  "scale": options.scale, "absent": bench.absent}
    results = report.kept(options.json)
    print(report.head(conditions), flush=True)
    for name in options.parts:
        since = time.monotonic()
        results[name] = {"run": conditions, "found": PARTS[name].measure(bench)}
        print(report.section(PARTS[name], name, results[name]), flush=True)
        print(f"{name}: {time.monotonic() - since:.0f} s", file=sys.stderr)
        if options.json:
            with open(options.json, "w") as file:
                json.dump(results, file, indent=1)
                file.write("\n")
    print(goals.show({name: part["found"] for name, part in results.items()}))
    return results


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--portcullis", default="target/release/portcullis", metavar="BINARY")
    parser.add_argument("--redis", default="redis-server", metavar="BINARY")
    parser.add_argument("--envoy", default="envoy", metavar="BINARY")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of requests a round")
    usual = [part for part in PARTS if part != "cluster"]
    parser.add_argument("--parts", nargs="+", default=usual, choices=list(PARTS), metavar="PART")
    parser.add_argument("--cases", nargs="+", default=list(cases.CASES), choices=list(cases.CASES), metavar="CASE")
    parser.add_argument("--peers", nargs="+", default=peers.DEFAULT, choices=peers.NAMES, metavar="PEER",
                        help=f"of {' '.join(peers.NAMES)}; default: {' '.join(peers.DEFAULT)}")
    parser.add_argument("--clients", nargs="+", type=int, default=growth.CLIENTS, help="counts for growth")
    parser.add_argument("--patience", type=int, default=readers.LONGEST, help="seconds that readers wait to be cut")
    parser.add_argument("--quick", action="store_true",
                        help="everything once, at small scale: shows that it works, no figures")
    parser.add_argument("--json", metavar="FILE", help="keep all rounds there; other parts that are in it stay")
    parser.add_argument("--charts", metavar="FOLDER", help="draw the file of --json there; needs matplotlib")
    parser.add_argument("--strict", action="store_true", help="exit 1 where a peer failed or was left out")
    parser.add_argument("--show", metavar="FILE", help="print such a file as Markdown and measure nothing")
    parser.add_argument("--into", metavar="PAGE", help="with --show: not print, but put it into docs/performance.md")
    # The seconds for which PINGs are timed before any other load.
    parser.set_defaults(quiet=2)
    options = parser.parse_args()
    if options.charts and not options.json:
        parser.error("--charts draws what --json FILE keeps: name one")
    if options.quick:
        for name, value in QUICK.items():
            setattr(options, name, value)
    return options


if __name__ == "__main__":
    main()
