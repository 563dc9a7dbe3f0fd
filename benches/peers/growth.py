"""The cost of a request with more and more clients: GET of 64 B, one at a time for each client.

Each figure is a difference of two runs, of few requests and of many, so that what connecting and closing thousands of
clients costs is in neither.
"""

from cases import CASES, benchmark, prepare
from process import Failed, Meter, settle
from rounds import median, ratio, rounds, shown, spread, table

CLIENTS = [1, 10, 50, 200, 1000, 3000, 9000]
REQUESTS = 100_000
# A forwarder has two files for each client; redis-benchmark itself ends at 10240 clients.
SPARE_FILES = 500
# Requests that each client makes at least.
EACH = 10


def measure(bench):
    found = {}
    prepare(bench.redis, CASES["get"])
    for clients in bench.options.clients:
        if 2 * clients + SPARE_FILES > bench.files:
            needed = 2 * clients + SPARE_FILES
            found[str(clients)] = {"absent": f"needs {needed} open files, {bench.files} are allowed"}
            continue
        requests = max(bench.scaled(REQUESTS if clients > 1 else REQUESTS // 5, 1000), EACH * clients)
        found[str(clients)] = {"requests": requests, "peers": rounds(
            bench.running, bench.options.rounds, lambda peer: slope(bench.redis, peer, clients, requests))}
    return found


def slope(redis, peer, clients, requests):
    few = run(redis, peer, clients, clients)
    many = run(redis, peer, clients, clients + requests)
    per = 1e6 / requests
    mine = {} if peer is redis else {"cpu": (many["cpu"] - few["cpu"]) * per}
    seconds = many["seconds"] - few["seconds"]
    return {"rps": requests / seconds if seconds > 0 else None, "p50": many["p50"], "p99": many["p99"],
            "redis": (many["redis"] - few["redis"]) * per, **mine}


def run(redis, peer, clients, requests):
    settle(peer)
    mine, theirs = Meter(peer), Meter(redis)
    rps, p50, p99 = benchmark(peer, ["-t", "get", "-d", "64", "-c", str(clients), "-n", str(requests)])
    settle(peer)
    settle(redis)
    if rps <= 0:
        raise Failed("redis-benchmark counted nothing")
    return {"seconds": requests / rps, "p50": p50, "p99": p99, "cpu": mine.total(), "redis": theirs.total()}


def show(result):
    text = [f"{clients} clients: {found['absent']}.\n" for clients, found in result.items() if "absent" in found]
    found = {clients: one["peers"] for clients, one in result.items() if "peers" in one}
    if not found:
        return "\n".join(text)
    names = list(next(iter(found.values())))
    # A peer that failed with some clients is omitted there; the smallest such number is reported.
    failed = {name: {"failed": f"with {clients}: {results[name]['failed']}"}
              for clients, results in reversed(found.items()) for name in names if "failed" in results[name]}
    for title, form, key in (("CPU us of the forwarder", ".2f", "cpu"), ("CPU us of Redis", ".2f", "redis"),
                             ("requests/s", ",.0f", "rps"), ("p99 ms, connecting included", ".2f", "p99")):
        rows = [[name, *(cell(results[name], key, form) for results in found.values())] for name in names
                if key != "cpu" or name != "direct"]
        text.append(f"#### {title}, by the number of clients\n\n{table(['', *found], rows, failed)}")
    rows = [[name, *(shown(ratio(results, name, "haproxy", "cpu"), ".2f") for results in found.values())]
            for name in names if name != "direct"]
    text.append("#### CPU of the forwarder as a multiple of HAProxy's, by the number of clients\n\n"
                f"{table(['', *found], rows)}")
    return "\n".join(text)


def cell(result, key, form):
    return f"{shown(median(result, key), form)} ({spread(result, key, form)})" if result["rounds"] else ""
