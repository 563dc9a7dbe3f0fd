"""The same load through each peer: throughput, waits, CPU of the forwarder and of Redis for each request, memory."""

import subprocess

from process import Failed, Meter, forget_peak, peak, settle
from rounds import mean, median, medians, ratio, rounds, shown, spread, table

SMALL, LARGE, HUGE = ["-d", "64"], ["-d", "4096"], ["-d", str(1 << 20)]
CASES = {
    "get-1": ["-t", "get", "-c", "1", *SMALL],
    "set-1": ["-t", "set", "-c", "1", *SMALL],
    "get": ["-t", "get", "-c", "50", *SMALL],
    "set": ["-t", "set", "-c", "50", *SMALL],
    "get-1000": ["-t", "get", "-c", "1000", *SMALL],
    "set-1000": ["-t", "set", "-c", "1000", *SMALL],
    "get-p16": ["-t", "get", "-c", "50", *SMALL, "-P", "16"],
    "set-p16": ["-t", "set", "-c", "50", *SMALL, "-P", "16"],
    "get-p64": ["-t", "get", "-c", "50", *SMALL, "-P", "64"],
    "set-p64": ["-t", "set", "-c", "50", *SMALL, "-P", "64"],
    "get-4k": ["-t", "get", "-c", "50", *LARGE],
    "set-4k": ["-t", "set", "-c", "50", *LARGE],
    "get-1m": ["-t", "get", "-c", "10", *HUGE],
    "set-1m": ["-t", "set", "-c", "10", *HUGE],
}
# Far more seconds than the slowest case takes.
PATIENCE = 60
REQUESTS = {"get-1": 20_000, "set-1": 20_000, "get-1000": 200_000, "set-1000": 200_000, "get-p16": 1_000_000,
            "set-p16": 1_000_000, "get-p64": 2_000_000, "set-p64": 2_000_000, "get-1m": 1_000, "set-1m": 1_000}
HEADS = ["", "requests/s", "spread", "of direct", "p50 ms", "p99 ms", "CPU us", "spread", "user", "of haproxy's",
         "Redis CPU us", "of direct", "peak MiB"]


def measure(bench):
    return {case: measured(bench, bench.running_in(case), case) for case in bench.options.cases}


def measured(bench, running, case):
    requests = max(int(REQUESTS.get(case, 100_000) * bench.options.scale), 200)
    prepare(bench.redis, CASES[case])
    results = rounds(running, bench.options.rounds, lambda peer: load(bench.redis, peer, CASES[case], requests))
    return {"load": f"redis-benchmark {' '.join(CASES[case])} -n {requests}", "peers": results}


def prepare(redis, arguments):
    """Writes the key that redis-benchmark reads, in the size of these arguments."""
    size = arguments[arguments.index("-d") + 1]
    benchmark(redis, ["-t", "set", "-d", size, "-n", "10"])


def load(redis, peer, arguments, requests):
    """One run of redis-benchmark: times in ms, CPU in microseconds a request, memory in KiB."""
    settle(peer)
    forget_peak(peer)
    mine, theirs = Meter(peer), Meter(redis)
    rps, p50, p99 = benchmark(peer, [*arguments, "-n", str(requests)])
    settle(peer)
    settle(redis)
    per = 1e6 / requests
    return {"rps": rps, "p50": p50, "p99": p99, "redis": theirs.total() * per,
            **({} if peer is redis else {"cpu": mine.total() * per, "user": mine.user() * per, "peak": peak(peer)})}


def benchmark(peer, arguments):
    tls = ["--tls", "--insecure"] if peer.tls else []
    command = ["redis-benchmark", "-p", str(peer.port), "--precision", "3", "--csv", *tls, *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        raise Failed(f"redis-benchmark has no end after {PATIENCE} s") from None
    # "test","rps","avg","min","p50","p95","p99","max"
    last = (done.stdout.strip().splitlines() or [""])[-1]
    fields = last.replace('"', "").split(",")
    if done.returncode or len(fields) != 8 or fields[1] == "rps":
        said = (done.stderr or done.stdout).strip().splitlines() or [f"exit {done.returncode}"]
        raise Failed(f"redis-benchmark: {said[-1].strip()}")
    return float(fields[1]), float(fields[4]), float(fields[6])


def show(result, title=""):
    text = []
    for case, found in result.items():
        text.append(f"#### {case}{title}: `{found['load']}`\n\n{case_table(found['peers'])}")
    return "\n".join(text)


def case_table(results):
    rows = []
    for name, result in results.items():
        direct, haproxy = (ratio(results, name, base, key) for base, key in (("direct", "rps"), ("haproxy", "cpu")))
        resident = median(result, "peak")
        rows.append([
            name, *medians(result, rps=",.0f"), spread(result, "rps", ",.0f"), shown(direct, ".2f"),
            *medians(result, p50=".2f", p99=".2f", cpu=".2f"), spread(result, "cpu", ".2f"),
            shown(mean(result, "user"), ".2f"), shown(haproxy, ".2f"), *medians(result, redis=".2f"),
            shown(ratio(results, name, "direct", "redis"), ".2f"), shown(resident and resident / 1024, ".1f"),
        ])
    return table(HEADS, rows, results)

