"""redis-py as a client of one server, of a sentinel and of a cluster, all through one address.

`python presented.py HOST PORT [SENTINEL_PORT]`; with a third port, that one is a listener that is only a sentinel.
PLANNED_FAILOVER is a command that changes the master behind the proxy. The same clients go on after it.
"""

import asyncio
import os
import sys
import time

import redis
from redis import asyncio as aio
from redis.cluster import RedisCluster
from redis.sentinel import MasterNotFoundError, Sentinel

HOST, PORT = sys.argv[1], int(sys.argv[2])
SENTINEL_PORT = int(sys.argv[3]) if len(sys.argv) > 3 else PORT


def use(client, name):
    client.set(f"{name}:a", "1")
    assert client.get(f"{name}:a") in (b"1", "1")
    assert client.incr(f"{name}:n") >= 1
    client.delete(f"{name}:n")


def standalone():
    for protocol in (2, 3):
        client = redis.Redis(HOST, PORT, protocol=protocol)
        use(client, "standalone")
        assert client.info()["role"] == "master"
        assert client.role()[0] in (b"master", "master")
        with client.pipeline(transaction=True) as pipeline:
            assert pipeline.set("p", 1).get("p").execute()[0]
        other = redis.Redis(HOST, PORT, db=3, protocol=protocol)
        use(other, "other")


def sentinel():
    for protocol in (2, 3):
        sentinels = Sentinel([(HOST, SENTINEL_PORT)], sentinel_kwargs={"protocol": protocol}, protocol=protocol)
        assert sentinels.discover_master("mymaster") == (HOST, PORT)
        assert sentinels.discover_slaves("mymaster") == []
        use(sentinels.master_for("mymaster"), "sentinel")
        # Without replicas it falls back to the master.
        assert sentinels.slave_for("mymaster").get("sentinel:a") == b"1"
        try:
            sentinels.discover_master("unknown")
        except MasterNotFoundError:
            pass
        else:
            raise AssertionError("a name that is not announced was found")


def cluster():
    for protocol in (2, 3):
        client = RedisCluster(host=HOST, port=PORT, protocol=protocol)
        assert [(node.host, node.port) for node in client.get_nodes()] == [(HOST, PORT)]
        for number in range(100):
            client.set(f"cluster:{number}", number)
        assert client.mget_nonatomic(f"cluster:{number}" for number in range(3)) == [b"0", b"1", b"2"]
        pipeline = client.pipeline()
        for number in range(100):
            pipeline.get(f"cluster:{number}")
        assert pipeline.execute() == [str(number).encode() for number in range(100)]
        listener = client.pubsub()
        listener.ssubscribe("shard")
        assert listener.get_sharded_message(timeout=5)["type"] == "ssubscribe"
        client.spublish("shard", "hello")
        message = None
        deadline = time.monotonic() + 10
        while message is None and time.monotonic() < deadline:
            message = listener.get_sharded_message(timeout=1)
        assert message["data"] == b"hello", message
        listener.close()
        client.close()


async def asynchronous():
    client = aio.Redis(host=HOST, port=PORT)
    assert await client.set("asynchronous", 1)
    await client.aclose()
    sentinels = aio.sentinel.Sentinel([(HOST, SENTINEL_PORT)])
    master = sentinels.master_for("mymaster")
    assert await master.get("asynchronous") == b"1"
    await master.aclose()
    nodes = aio.RedisCluster(host=HOST, port=PORT)
    assert await nodes.get("asynchronous") == b"1"
    await nodes.aclose()


async def failover():
    """Counts with one client of each kind and mode, before, during and after a planned failover."""
    counters = []
    for protocol in (2, 3):
        sentinels = Sentinel([(HOST, SENTINEL_PORT)], sentinel_kwargs={"protocol": protocol}, protocol=protocol)
        counters += [
            Counter(f"standalone:{protocol}", redis.Redis(HOST, PORT, protocol=protocol)),
            Counter(f"sentinel:{protocol}", sentinels.master_for("mymaster")),
            Counter(f"cluster:{protocol}", RedisCluster(host=HOST, port=PORT, protocol=protocol)),
        ]
    counters += [
        Counter("asynchronous:standalone", aio.Redis(host=HOST, port=PORT)),
        Counter("asynchronous:sentinel", aio.sentinel.Sentinel([(HOST, SENTINEL_PORT)]).master_for("mymaster")),
        Counter("asynchronous:cluster", aio.RedisCluster(host=HOST, port=PORT)),
    ]
    subscriber = redis.Redis(HOST, PORT).pubsub()
    subscriber.subscribe("news")
    asynchronous = aio.Redis(host=HOST, port=PORT).pubsub()
    await asynchronous.subscribe("news")
    running = [asyncio.ensure_future(counter.run()) for counter in counters]
    await counted(counters)
    command = await asyncio.create_subprocess_exec(*os.environ["PLANNED_FAILOVER"].split())
    assert await command.wait() == 0
    await counted(counters)
    await heard(lambda: asyncio.to_thread(subscriber.get_message, timeout=0.1))
    await heard(lambda: asynchronous.get_message(timeout=0.1))
    for counter in counters:
        counter.stopping = True
    await asyncio.gather(*running)
    stored = redis.Redis(HOST, PORT)
    for counter in counters:
        value = stored.incrby(counter.key, 0)
        assert counter.acknowledged <= value <= counter.sent, (counter.key, counter.acknowledged, value, counter.sent)
    print(f"  acknowledged {sum(counter.acknowledged for counter in counters)} of {sum(counter.sent for counter in counters)} "
          f"commands, {sum(counter.errors for counter in counters)} read an error")


async def heard(get_message):
    """Publishes until the subscriber has a message: its library has subscribed again at the new master."""
    publisher = redis.Redis(HOST, PORT)
    end = time.monotonic() + 20
    message = None
    while not message or message["type"] != "message":
        assert time.monotonic() < end
        publisher.publish("news", "from the new master")
        message = await get_message()


class Counter:
    """Counts up with one client, without a pause."""

    def __init__(self, name, client):
        self.key, self.client = f"counter:{os.getpid()}:{name}", client
        self.sent = self.acknowledged = self.errors = 0
        self.stopping = False

    async def run(self):
        while not self.stopping:
            self.sent += 1
            try:
                if asyncio.iscoroutinefunction(self.client.execute_command):
                    await self.client.incr(self.key)
                else:
                    await asyncio.to_thread(self.client.incr, self.key)
                self.acknowledged += 1
            except redis.RedisError as error:
                # A command in flight when the master changes. It may have run, and is not sent again.
                assert "this command may or may not have run" in str(error), (self.key, error)
                self.errors += 1


async def counted(counters):
    """Waits until each client has counted on."""
    before = [counter.acknowledged for counter in counters]
    end = time.monotonic() + 20
    while any(counter.acknowledged < count + 20 for counter, count in zip(counters, before)):
        assert time.monotonic() < end, [(counter.key, counter.acknowledged) for counter in counters]
        await asyncio.sleep(0.05)


if __name__ == "__main__":
    parts = [standalone, sentinel, cluster, asynchronous]
    if "PLANNED_FAILOVER" in os.environ:
        parts.append(failover)
    for part in parts:
        started = time.monotonic()
        if asyncio.iscoroutinefunction(part):
            asyncio.run(part())
        else:
            part()
        print(f"redis-py {part.__name__}: passed, {time.monotonic() - started:.1f} s")
