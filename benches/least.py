#!/usr/bin/env python3
"""Runs the benches of the resp crate several times and prints the least sample of each case, ours beside redis-protocol's.

    benches/least.py [ROUNDS]        # 5

On a machine that others use as well, the least of many samples is what the code costs; medians are what the others do.
"""

import glob
import json
import os
import shutil
import subprocess
import sys

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TARGET = os.environ.get("CARGO_TARGET_DIR", os.path.join(TOP, "target"))
BENCHES = ["--bench", "requests", "--bench", "replies", "--bench", "lookup"]
CRITERION = ["--warm-up-time", "0.2", "--measurement-time", "0.5", "--sample-size", "20", "--noplot"]


def shown(nanoseconds):
    for unit, size in (("ms", 1e6), ("us", 1e3)):
        if nanoseconds >= size:
            return "%.3g %s" % (nanoseconds / size, unit)
    return "%.3g ns" % nanoseconds


def main(rounds):
    least = {}
    for _ in range(rounds):
        shutil.rmtree(os.path.join(TARGET, "criterion"), ignore_errors=True)
        subprocess.run(["cargo", "bench", "-q", "-p", "benches", *BENCHES, "--", *CRITERION],
                       cwd=TOP, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
        for path in glob.glob(os.path.join(TARGET, "criterion", "*", "**", "new", "sample.json"), recursive=True):
            with open(path) as file:
                sample = json.load(file)
            with open(os.path.join(os.path.dirname(path), "benchmark.json")) as file:
                identity = json.load(file)
            case = (identity["group_id"], identity["value_str"] or "", identity["function_id"] or "")
            best = min(time / count for time, count in zip(sample["times"], sample["iters"]))
            least[case] = min(best, least.get(case, best))
    for (group, value, function), nanoseconds in sorted(least.items()):
        theirs = least.get((group, value, "redis-protocol"))
        times = "" if theirs in (None, nanoseconds) else "%5.1f x" % (theirs / nanoseconds)
        print("%-22s %-22s %-24s %10s %s" % (group, value, function, shown(nanoseconds), times))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
