#!/usr/bin/python3
"""Draws the charts of the docs from the rounds that bench.py wrote.

    benches/peers/chart.py RESULTS.json docs        # peers-cost.svg, peers-throughput.svg, peers-clients.svg, ...

Needs matplotlib (Debian: python3-matplotlib, hence Debian's python3). Each part of the results that is there gives its
charts. The same results give the same bytes.
"""

import io
import json
import re
import sys
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plot  # noqa: E402

from rounds import median, ratio, values  # noqa: E402

COLOURS = {"direct": "#8a8a8a", "portcullis": "#0072b2", "portcullis-shared": "#56b4e9", "portcullis-acl": "#004b75",
           "haproxy": "#e69f00", "nginx": "#009e73", "rinetd": "#a6761d", "twemproxy": "#cc79a7", "envoy": "#d55e00"}
CASES = {"get": "50 clients", "get-1000": "1000 clients", "get-p16": "pipeline 16", "get-p64": "pipeline 64",
         "get-4k": "GET 4 KiB", "get-1m": "GET 1 MiB", "set-1m": "SET 1 MiB"}
# Colours that follow the reader's light or dark theme: matplotlib writes these names, and STYLE defines them.
INK, PAPER = "#010203", "#fdfcfb"
STYLE = """<style>
svg { color: #1f2328 } .paper { fill: #ffffff }
@media (prefers-color-scheme: dark) { svg { color: #e6edf3 } .paper { fill: #0d1117 } }
</style>
"""


def main(results, folder):
    with open(results) as file:
        parts = {name: part["found"] for name, part in json.load(file).items()}
    plot.rcParams.update({
        "svg.fonttype": "none", "svg.hashsalt": "portcullis",
        "font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans", "Verdana"], "font.size": 9,
        "text.color": INK, "axes.edgecolor": INK, "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK,
        "figure.facecolor": PAPER, "axes.facecolor": "none", "legend.frameon": False, "axes.spines.top": False,
        "axes.spines.right": False})
    cases = {name: found["peers"] for name, found in parts.get("cases", {}).items() if name in CASES}
    if cases:
        save(cost(cases), folder, "peers-cost")
        save(throughput(cases), folder, "peers-throughput")
    growth = {int(count): found["peers"] for count, found in parts.get("growth", {}).items() if "peers" in found}
    if growth:
        save(clients(growth), folder, "peers-clients")
    if "connections" in parts and "idle" in parts:
        save(connections(parts), folder, "peers-connections")


def cost(cases):
    return bars(cases, "CPU per request, HAProxy = 1", 2.5,
                lambda results, name: ratio(results, name, "haproxy", "cpu"), without=["direct"])


def throughput(cases):
    return bars(cases, "requests/s, direct = 1", 1.5,
                lambda results, name: ratio(results, name, "direct", "rps"), without=["direct"])


def bars(cases, label, most, value, without):
    """Draws a group for each case, a bar for each peer; bars above `most` are cut and show their value."""
    names = [name for name in next(iter(cases.values())) if name not in without]
    figure, axes = plot.subplots(figsize=(8.2, 3.6))
    width = 0.84 / len(names)
    for place, name in enumerate(names):
        heights = [value(cases[case], name) for case in cases]
        where = [group - 0.42 + (place + 0.5) * width for group in range(len(cases))]
        axes.bar(where, [min(height or 0, most) for height in heights], width, color=COLOURS[name], label=name)
        for x, height in zip(where, heights):
            if height is None or height > most:
                text = "failed" if height is None else f"{height:.1f}"
                axes.text(x, 0.02 if height is None else most * 1.01, text, ha="center", va="bottom", fontsize=7,
                          rotation=90 if height is None else 0)
    axes.axhline(1, color=INK, linewidth=0.8, linestyle="--")
    axes.set_xticks(range(len(cases)), [CASES[case] for case in cases])
    axes.set_ylim(0, most)
    axes.set_ylabel(label)
    legend(figure, axes)
    return figure


def clients(growth):
    figure, (left, middle, right) = plot.subplots(1, 3, figsize=(9.4, 3.6))
    for axes, key, label in ((left, "cpu", "CPU us of the forwarder per request"),
                             (middle, "redis", "CPU us of Redis per request"), (right, "rps", "requests per second")):
        for name in next(iter(growth.values())):
            points = [(count, median(results[name], key)) for count, results in sorted(growth.items())]
            points = [(count, y) for count, y in points if y is not None]
            if points:
                axes.plot(*zip(*points), marker="o", markersize=3, linewidth=1.4, color=COLOURS[name], label=name,
                          linestyle="--" if name == "direct" else "-")
        axes.set_xscale("log")
        axes.set_xticks(sorted(growth), [f"{count}" for count in sorted(growth)], rotation=45)
        axes.minorticks_off()
        axes.set_ylim(bottom=0)
        axes.set_xlabel("clients, one GET of 64 B at a time each")
        axes.set_ylabel(label)
    right.yaxis.set_major_formatter(lambda value, _: f"{value / 1000:.0f} k")
    legend(figure, right)
    return figure


def connections(parts):
    count = next(iter(parts["idle"]))
    panels = [(f"KiB resident per idle client\n({count} clients)", parts["idle"][count].get("peers", {}), "kib"),
              ("CPU us per connect,\nPING and close", parts["connections"]["connects"]["peers"], "cpu"),
              ("CPU us per refused connect", parts["connections"]["refused"]["peers"], "cpu")]
    figure, row = plot.subplots(1, 3, figsize=(8.6, 2.9))
    for axes, (label, results, key) in zip(row, panels):
        found = {name: result for name, result in results.items() if values(result, key)}
        heights = [median(result, key) for result in found.values()]
        drawn = axes.barh(list(found), heights, color=[COLOURS[name] for name in found])
        axes.bar_label(drawn, [f"{height:.1f}" for height in heights], padding=2, fontsize=8)
        axes.invert_yaxis()
        axes.set_xlim(0, max(heights, default=1) * 1.25)
        axes.set_xlabel(label)
    figure.tight_layout()
    return figure


def legend(figure, axes):
    handles, labels = axes.get_legend_handles_labels()
    figure.tight_layout(rect=(0, 0, 1, 0.92))
    figure.legend(handles, labels, loc="upper center", ncol=len(labels), columnspacing=1.2, handlelength=1.2)


def save(figure, folder, name):
    written = io.StringIO()
    figure.savefig(written, format="svg", metadata={"Date": None, "Creator": None})
    plot.close(figure)
    text = written.getvalue()
    text = re.sub(rf'style="fill: {PAPER}[^"]*"', 'class="paper"', text).replace(INK, "currentColor")
    head = text.index(">", text.index("<svg")) + 2
    path = Path(folder) / f"{name}.svg"
    path.write_text(text[:head] + STYLE + text[head:])
    print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
