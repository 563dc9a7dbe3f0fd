"""The goals of the project, beside the measurements. They are not tests: a slow machine fails none."""

from rounds import mean, median, ratio, table

AT_MOST, AT_LEAST = "at most", "at least"


def show(found):
    """Compares the goals with `found`, the measurements of each part; omits the goals of missing parts."""
    rows = []
    for text, sense, bound, reached in goals(found):
        if reached is not None:
            met = reached <= bound if sense == AT_MOST else reached >= bound
            rows.append([text, f"{sense} {bound:g}", f"{reached:.2f}", "yes" if met else "**no**"])
    return f"### goals\n\n{__doc__}\n\n{table(['', 'goal', 'reached', 'met'], rows)}" if rows else ""


def goals(found):
    cases = {name: case["peers"] for name, case in found.get("cases", {}).items()}
    yield from requests(cases)
    yield from with_tls(found.get("tls", {}).get("cases", {}))
    yield from before_cluster(found.get("cluster", {}).get("cases", {}))
    yield from connections(found.get("connections"))
    for count, clients in found.get("idle", {}).items():
        reached = of(clients.get("peers"), "portcullis", "kib")
        yield f"portcullis: KiB of an idle client, {count} of them", AT_MOST, 2.5, reached
    for name in ("portcullis", "portcullis-shared"):
        beside = of(found.get("fairness", {}).get("peers"), name, "p99")
        yield f"{name}: PING p99 in ms beside a million pipelined GETs", AT_MOST, 5, beside
        large = found.get("values", {})
        reached = of(large.get("peers"), name, "get_peak")
        yield f"{name}: peak resident MiB at GET of {large.get('mib')} MiB", AT_MOST, 32, reached


def requests(cases):
    for case, bound in (("get", 1.0), ("get-1000", 1.0), ("get-p16", 0.95), ("get-p64", 1.15)):
        yield f"portcullis, {case}: CPU, of HAProxy's", AT_MOST, bound, to(cases, case, "portcullis", "haproxy", "cpu")
        reached = to(cases, case, "portcullis", "haproxy", "rps")
        yield f"portcullis, {case}: throughput, of HAProxy's", AT_LEAST, 1, reached
    for case, bound in (("get", 0.65), ("get-1000", 0.5), ("get-p16", 0.7), ("get-p64", 1.1)):
        reached = to(cases, case, "portcullis-shared", "haproxy", "cpu")
        yield f"portcullis-shared, {case}: CPU, of HAProxy's", AT_MOST, bound, reached
    reached = to(cases, "get-1000", "portcullis-shared", "direct", "rps")
    yield "portcullis-shared, get-1000: throughput, of direct", AT_LEAST, 1.1, reached
    for name, case, bound in (("portcullis", "get", 1.5), ("portcullis-shared", "get", 0.9),
                              ("portcullis", "get-p64", 0.08), ("portcullis-shared", "get-p64", 0.08)):
        yield f"{name}, {case}: user mode, us a request", AT_MOST, bound, user(cases.get(case), name)
    reached = to(cases, "get-p64", "portcullis-acl", "portcullis", "cpu")
    yield "command rules with key patterns, get-p64: CPU, of that without", AT_MOST, 1.3, reached
    for case in ("get-1m", "set-1m"):
        reached = to(cases, case, "portcullis", "haproxy", "rps")
        yield f"portcullis, {case}: throughput, of HAProxy's", AT_LEAST, 1, reached


def with_tls(cases):
    found = {name: case["peers"] for name, case in cases.items()}
    for case in found:
        reached = to(found, case, "portcullis", "haproxy", "cpu")
        yield f"portcullis, {case} with TLS: CPU, of HAProxy's", AT_MOST, 1, reached


def before_cluster(cases):
    found = {name: case["peers"] for name, case in cases.items()}
    for case in found:
        bound = 2.2 if case.endswith("p16") else 1.15
        for base, most in (("portcullis", bound), ("envoy-cluster", 0.5)):
            reached = to(found, case, "portcullis-cluster", base, "cpu")
            yield f"portcullis-cluster, {case}: CPU, of {base}'s", AT_MOST, most, reached


def connections(found):
    for case, base in (("connects", "haproxy"), ("refused", "nginx")) if found else ():
        peers = {case: found[case]["peers"]}
        yield f"portcullis, {case}: CPU, of {base}'s", AT_MOST, 1, to(peers, case, "portcullis", base, "cpu")


def to(cases, case, name, base, key):
    return ratio(cases.get(case, {}), name, base, key)


def user(results, name):
    return mean(results[name], "user") if results and name in results else None


def of(results, name, key):
    return median(results[name], key) if results and name in results else None
