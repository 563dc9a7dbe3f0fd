"""Rounds over all peers, and their statistics: medians, their spread, ratios within a round."""

import statistics
import subprocess
import sys

from process import Failed


def rounds(running, count, measure):
    """Returns `{name: {"rounds": [{...}, ...], "failed": why}}`: after a failure a peer is restarted and omitted."""
    results = {peer.name: {"rounds": []} for peer in running}
    for _ in range(count):
        for peer in running:
            result = results[peer.name]
            if "failed" in result:
                continue
            try:
                result["rounds"].append(measure(peer))
            except (Failed, OSError, subprocess.SubprocessError) as error:
                result["failed"] = str(error) or type(error).__name__
                print(f"{peer.name}: {result['failed']}", file=sys.stderr)
                start_again(peer, result)
    return results


def start_again(peer, result):
    try:
        peer.restart()
    except Failed as error:
        result["failed"] += f"; and then {error}"


def values(result, key):
    return [row[key] for row in result["rounds"] if row.get(key) is not None]


def median(result, key):
    found = values(result, key)
    return statistics.median(found) if found else None


def mean(result, key):
    """The mean, for values that the kernel counts in ticks: too coarse for one round, but not for all together."""
    found = values(result, key)
    return statistics.mean(found) if found else None


def spread(result, key, form):
    found = values(result, key)
    return f"{min(found):{form}}-{max(found):{form}}" if found else ""


def ratio(results, name, base, key):
    """The median of the ratios to `base`, each within one round: the machine's speed drifts."""
    pairs = zip(values(results.get(name, {"rounds": []}), key), values(results.get(base, {"rounds": []}), key))
    found = [mine / theirs for mine, theirs in pairs if theirs]
    return statistics.median(found) if found else None


def shown(value, form):
    return "" if value is None else f"{value:{form}}"


def medians(result, **forms):
    """Cells, one for each of the keys, in the form that is given for it."""
    return [shown(median(result, key), form) for key, form in forms.items()]


def table(heads, rows, results=None):
    """Returns Markdown. For a peer in `results` that failed or was omitted, the last column gives the reason."""
    failed = {name: result["failed"] for name, result in (results or {}).items() if "failed" in result}
    heads = [*heads, "failed"] if failed else heads
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for name, *cells in rows:
        tail = [failed.get(name, "").replace("|", "/").replace("\n", " ")] if failed else []
        lines.append("| " + " | ".join([name, *cells, *tail]) + " |")
    return "\n".join(lines) + "\n"
