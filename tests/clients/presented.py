"""redis-py as a client of one server, of a sentinel and of a cluster, all through one address.

`python presented.py HOST PORT [SENTINEL_PORT]`; with a third port, that one is a listener that is only a sentinel.
"""

import asyncio
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


if __name__ == "__main__":
    for part in (standalone, sentinel, cluster, lambda: asyncio.run(asynchronous())):
        started = time.monotonic()
        part()
        name = "asynchronous" if part.__name__ == "<lambda>" else part.__name__
        print(f"redis-py {name}: passed, {time.monotonic() - started:.1f} s")
