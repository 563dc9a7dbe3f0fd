"""Libraries that run scripts in Redis: Celery, rq, redis-py's locks, rate limits, and Sidekiq's scheduler.

`REDIS_PORT=6379 python scripts.py`; Celery's worker imports it as a module.
"""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import redis
from celery import Celery, chord, group
from limits import parse, storage, strategies
from rq import Queue, SimpleWorker

PORT = int(os.environ["REDIS_PORT"])
URL = f"redis://127.0.0.1:{PORT}/0"

app = Celery("scripts", broker=URL, backend=URL)
app.conf.update(worker_hijack_root_logger=False, broker_connection_retry_on_startup=True, result_expires=60)


@app.task(name="add")
def add(one, other):
    return one + other


@app.task(name="total")
def total(numbers):
    return sum(numbers)


def double(number):
    return 2 * number


def with_celery():
    command = [sys.executable, "-m", "celery", "-A", "scripts", "worker", "--pool", "threads", "--concurrency", "2"]
    command += ["--loglevel", "WARNING"]
    worker = subprocess.Popen(command, cwd=Path(__file__).parent, stdout=sys.stderr)
    try:
        assert add.delay(1, 2).get(timeout=30) == 3
        results = [add.delay(number, number) for number in range(50)]
        assert [result.get(timeout=30) for result in results] == [2 * number for number in range(50)]
        assert group(add.s(number, 1) for number in range(10))().get(timeout=30) == list(range(1, 11))
        assert chord((add.s(number, 0) for number in range(10)), total.s())().get(timeout=30) == 45
        assert add.apply_async((4, 4), countdown=1).get(timeout=30) == 8
        assert app.control.ping(timeout=2), "the worker hears what is broadcast"
    finally:
        worker.terminate()
        worker.wait(20)


def with_rq():
    connection = redis.Redis(port=PORT)
    queue = Queue(connection=connection)
    jobs = [queue.enqueue(double, number) for number in range(20)]
    SimpleWorker([queue], connection=connection).work(burst=True, logging_level="WARNING")
    assert [job.return_value() for job in jobs] == [2 * number for number in range(20)]


def with_locks():
    client = redis.Redis(port=PORT)
    counter = {"value": 0}

    def count():
        own = redis.Redis(port=PORT)
        for _ in range(20):
            with own.lock("lock:count", timeout=10, sleep=0.005):
                seen = counter["value"]
                time.sleep(0.001)
                counter["value"] = seen + 1

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counter["value"] == 80
    lock = client.lock("lock:one", timeout=5)
    assert lock.acquire() and not client.lock("lock:one").acquire(blocking=False)
    assert lock.extend(5) and lock.reacquire()
    lock.release()
    lost = client.lock("lock:two", timeout=0.05)
    assert lost.acquire()
    time.sleep(0.1)
    try:
        lost.release()
    except redis.exceptions.LockError:
        pass
    else:
        raise AssertionError("a lock that ran out was released")


def with_limits():
    store = storage.storage_from_string(URL)
    for number, strategy in enumerate((strategies.MovingWindowRateLimiter, strategies.FixedWindowRateLimiter)):
        limiter = strategy(store)
        hits = [limiter.hit(parse("5/minute"), "client", str(number)) for _ in range(8)]
        assert hits == [True] * 5 + [False] * 3, hits


def with_sidekiq():
    """Jobs that are due leave the set one by one, by a script that is loaded when Redis does not know it."""
    client = redis.Redis(port=PORT)
    script = """
    local due = redis.call('zrange', KEYS[1], '-inf', ARGV[1], 'byscore', 'limit', 0, 1)
    if due[1] then redis.call('zrem', KEYS[1], due[1]) end
    return due[1]
    """
    client.zadd("schedule", {f"job:{number}": number for number in range(10)})
    digest = "0" * 40
    popped = []
    while True:
        try:
            job = client.evalsha(digest, 1, "schedule", 6)
        except redis.exceptions.NoScriptError:
            digest = client.script_load(script)
            continue
        if job is None:
            break
        popped.append(job.decode())
        client.lpush("queue:default", job)
    assert popped == [f"job:{number}" for number in range(7)], popped
    assert client.zcard("schedule") == 3 and client.script_exists(digest) == [True]


if __name__ == "__main__":
    redis.Redis(port=PORT).ping()
    # A module, so that workers find the functions to run under the same name.
    import scripts

    for part in (scripts.with_locks, scripts.with_limits, scripts.with_sidekiq, scripts.with_rq, scripts.with_celery):
        started = time.monotonic()
        part()
        print(f"{part.__name__}: passed, {time.monotonic() - started:.1f} s")
