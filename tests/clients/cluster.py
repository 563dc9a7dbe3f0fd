"""redis-py before a cluster, through one address: as a client of one server, and as one of a cluster.

`python cluster.py HOST PORT`. SLOT_MOVE and PLANNED_FAILOVER are commands that change the cluster behind the proxy; the
keys whose slots move are added to the first.
"""

import asyncio
import os
import threading
import time

import redis
from listeners import Listeners
from presented import HOST, PORT, Counter, counted
from redis import asyncio as aio
from redis.cluster import RedisCluster
from redis.exceptions import RedisError, ResponseError, WatchError

ADD = "return redis.call('INCRBY', KEYS[1], ARGV[1])"
# Below, at and above the longest command that is sent again after a redirect, and far above all buffers.
SIZES = [0, 1, 16_000, 16_384, 17_000, 1 << 20, 24 << 20]


def clients():
    for protocol in (2, 3):
        yield f"plain:{protocol}", redis.Redis(HOST, PORT, protocol=protocol)
        yield f"cluster:{protocol}", RedisCluster(host=HOST, port=PORT, protocol=protocol)


def keys(client, name):
    names = [f"{name}:{number}" for number in range(500)]
    for number, key in enumerate(names):
        assert client.set(key, number)
    assert [client.get(key) for key in names] == [str(number).encode() for number in range(500)]
    assert all(client.delete(key) == 1 for key in names)
    assert not any(client.exists(key) for key in names)


def pipelines(client, name):
    with client.pipeline(transaction=False) as pipeline:
        for number in range(3000):
            pipeline.set(f"{name}:{number}", number)
            pipeline.get(f"{name}:{number}")
        replies = pipeline.execute()
    assert replies[0::2] == [True] * 3000
    assert replies[1::2] == [str(number).encode() for number in range(3000)]
    # An error is the reply of its own command only.
    with client.pipeline(transaction=False) as pipeline:
        pipeline.set(f"{name}:text", "x").incr(f"{name}:text").get(f"{name}:text")
        done, error, value = pipeline.execute(raise_on_error=False)
    assert done and isinstance(error, ResponseError) and value == b"x", (done, error, value)


def transactions(client, name):
    tag = f"{{{name}}}"
    client.delete(f"{tag}:a", f"{tag}:b")
    with client.pipeline(transaction=True) as pipeline:
        pipeline.incr(f"{tag}:a").incr(f"{tag}:a").setnx(f"{tag}:b", "x").get(f"{tag}:b")
        assert pipeline.execute() == [1, 2, 1, b"x"]
    with client.pipeline(transaction=True) as pipeline:
        pipeline.watch(f"{tag}:a")
        value = int(pipeline.get(f"{tag}:a"))
        pipeline.multi()
        pipeline.incrby(f"{tag}:a", value)
        assert pipeline.execute() == [2 * value]
    with client.pipeline(transaction=True) as pipeline:
        pipeline.watch(f"{tag}:a")
        client.set(f"{tag}:a", "changed")
        pipeline.multi()
        pipeline.set(f"{tag}:a", "lost")
        fails(WatchError, "", pipeline.execute)
    assert client.get(f"{tag}:a") == b"changed"


def scripts(client, name):
    client.delete(f"{name}:sum")
    unknown = f"{ADD} -- {name} {time.time()}"
    digest = redis.client.Script(redis.Redis(HOST, PORT), unknown).sha
    for number in range(30):
        # Each master gets the script by the first EVAL there.
        key = f"{name}:{number}"
        client.delete(key)
        try:
            value = client.evalsha(digest, 1, key, number)
        except redis.exceptions.NoScriptError:
            value = client.eval(unknown, 1, key, number)
        assert value == number
    assert all(client.evalsha(digest, 1, f"{name}:{number}", 1) == number + 1 for number in range(30))
    tag = f"{{{name}}}"
    assert client.eval("return {KEYS[1], KEYS[2], ARGV[1]}", 2, f"{tag}a", f"{tag}b", "c") == [
        f"{tag}a".encode(), f"{tag}b".encode(), b"c"]


def blocking(client, name):
    other = redis.Redis(HOST, PORT)
    for number in range(10):
        key = f"{name}:list:{number}"
        pushing = threading.Timer(0.05, other.rpush, (key, number))
        pushing.start()
        assert list(client.blpop(key, timeout=10)) == [key.encode(), str(number).encode()]
        pushing.join()
    tag = f"{{{name}}}"
    other.rpush(f"{tag}:from", "x")
    assert client.blmove(f"{tag}:from", f"{tag}:to", 5, "LEFT", "RIGHT") == b"x"
    assert list(client.brpop([f"{tag}:from", f"{tag}:to"], timeout=5)) == [f"{tag}:to".encode(), b"x"]
    assert client.blpop(f"{tag}:from", timeout=0.05) is None
    adding = threading.Timer(0.05, other.xadd, (f"{name}:stream", {"field": "value"}))
    adding.start()
    found = client.xread({f"{name}:stream": "$"}, block=10_000)
    assert b"value" in str(found).encode(), found
    adding.join()


def tags_and_errors(client, name):
    tag = f"{{{name}}}"
    assert client.mset({f"{tag}:1": 1, f"{tag}:2": 2})
    assert client.mget(f"{tag}:1", f"{tag}:2", f"{tag}:none") == [b"1", b"2", None]
    assert client.delete(f"{tag}:1", f"{tag}:2") == 2
    client.rpush(f"{tag}:list", "x")
    fails(ResponseError, "WRONGTYPE", client.get, f"{tag}:list")
    client.delete(f"{tag}:list")
    # A client of a cluster refuses keys of several slots itself, also where the proxy joins the values.
    plain = redis.Redis(HOST, PORT)
    assert plain.mset({f"{name}:one": 1, f"{name}:two": 2})
    assert plain.mget(f"{name}:one", f"{name}:two", f"{name}:none") == [b"1", b"2", None]
    assert plain.delete(f"{name}:one", f"{name}:two") == 2
    fails(ResponseError, "Keys in request don't hash to the same slot",
          plain.execute_command, "MSETNX", f"{name}:1", "x", f"{name}:2", "x")


def sizes(client, name):
    for size in SIZES:
        value = os.urandom(size)
        assert client.set(f"{name}:{size}", value)
        assert client.get(f"{name}:{size}") == value
        client.delete(f"{name}:{size}")


def fails(kinds, text, call, *arguments):
    try:
        value = call(*arguments)
    except kinds as error:
        assert text in str(error), error
    else:
        raise AssertionError(f"no error, but {value}")


async def asynchronous():
    for client in (aio.Redis(host=HOST, port=PORT), aio.RedisCluster(host=HOST, port=PORT)):
        await asyncio.gather(*(client.set(f"asynchronous:{number}", number) for number in range(50)))
        assert await client.get("asynchronous:49") == b"49"
        pipeline = client.pipeline()
        for number in range(300):
            pipeline.get(f"{{asynchronous}}:{number}")
        assert await pipeline.execute() == [None] * 300
        popping = asyncio.ensure_future(client.blpop("asynchronous:list", timeout=10))
        await asyncio.sleep(0.05)
        await client.rpush("asynchronous:list", "x")
        assert list(await popping) == [b"asynchronous:list", b"x"]
        await client.aclose()


async def changes():
    """Counts and listens with one client of each kind, while slots move and each replica takes its master's place."""
    counters = [Counter(f"{name}:{number}", client) for number in range(2) for name, client in clients()]
    counters += [Counter("asynchronous:plain", aio.Redis(host=HOST, port=PORT)),
                 Counter("asynchronous:cluster", aio.RedisCluster(host=HOST, port=PORT))]
    running = [asyncio.ensure_future(counter.run()) for counter in counters]
    waiting = Waiting(f"{os.getpid()}:waiting")
    listeners = Listeners(clients())
    await counted(counters)
    await asyncio.to_thread(listeners.assert_hear)
    names = [counter.key for counter in counters] + listeners.shards()
    for command in (os.environ["SLOT_MOVE"].split() + names, os.environ["PLANNED_FAILOVER"].split()):
        process = await asyncio.create_subprocess_exec(*command)
        assert await process.wait() == 0
        await counted(counters)
        await asyncio.to_thread(listeners.assert_hear)
    for counter in counters:
        counter.stopping = True
    await asyncio.gather(*running)
    await asyncio.to_thread(waiting.end)
    await asyncio.to_thread(listeners.end)
    stored = redis.Redis(HOST, PORT)
    for counter in counters:
        value = int(stored.get(counter.key))
        assert counter.acknowledged <= value <= counter.sent, (counter.key, counter.acknowledged, value, counter.sent)
    print(f"  acknowledged {sum(counter.acknowledged for counter in counters)} of {sum(counter.sent for counter in counters)} "
          f"commands, {sum(counter.errors for counter in counters)} read an error")


class Waiting:
    """A client that waits in BLPOP, while its node loses the slot and its place."""

    def __init__(self, key):
        self.key, self.error, self.found = key, None, None
        self.thread = threading.Thread(target=self.wait)
        self.thread.start()

    def wait(self):
        try:
            self.found = redis.Redis(HOST, PORT, socket_timeout=None).blpop(self.key, timeout=300)
        except RedisError as error:
            self.error = error

    def end(self):
        redis.Redis(HOST, PORT).rpush(self.key, "x")
        self.thread.join(30)
        assert list(self.found or []) == [self.key.encode(), b"x"], (self.found, self.error)


if __name__ == "__main__":
    for part in (keys, pipelines, transactions, scripts, blocking, tags_and_errors, sizes):
        started = time.monotonic()
        for name, client in clients():
            part(client, f"{part.__name__}:{name}")
            client.close()
        print(f"redis-py {part.__name__}: passed, {time.monotonic() - started:.1f} s", flush=True)
    for part in (asynchronous, changes):
        started = time.monotonic()
        asyncio.run(part())
        print(f"redis-py {part.__name__}: passed, {time.monotonic() - started:.1f} s", flush=True)
