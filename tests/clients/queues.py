"""Celery before a cluster: `python queues.py HOST PORT`. Celery's worker imports it as a module.

Celery pops from several lists and runs transactions over several keys, so all its keys need one slot: the option
`global_keyprefix` of the broker and of the results is a hash tag.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

HOST, PORT = sys.argv[1:3] if __name__ == "__main__" else (os.environ["QUEUES_HOST"], os.environ["QUEUES_PORT"])
os.environ.update(QUEUES_HOST=HOST, QUEUES_PORT=PORT)

from celery import Celery, chord, group  # noqa: E402

URL = f"redis://{HOST}:{PORT}/0"
PREFIX = "{celery}:"

app = Celery("queues", broker=URL, backend=URL)
app.conf.update(
    broker_transport_options={"global_keyprefix": PREFIX},
    result_backend_transport_options={"global_keyprefix": PREFIX},
    worker_hijack_root_logger=False,
    broker_connection_retry_on_startup=True,
    result_expires=60,
)


@app.task(name="add")
def add(one, other):
    return one + other


@app.task(name="total")
def total(numbers):
    return sum(numbers)


def work():
    results = [add.delay(number, number) for number in range(50)]
    assert [result.get(timeout=60) for result in results] == [2 * number for number in range(50)]


def with_celery():
    command = [sys.executable, "-m", "celery", "-A", "queues", "worker", "--pool", "threads", "--concurrency", "2"]
    command += ["--loglevel", "WARNING"]
    worker = subprocess.Popen(command, cwd=Path(__file__).parent, stdout=sys.stderr)
    try:
        assert add.delay(1, 2).get(timeout=60) == 3
        work()
        assert group(add.s(number, 1) for number in range(10))().get(timeout=60) == list(range(1, 11))
        assert chord((add.s(number, 0) for number in range(10)), total.s())().get(timeout=60) == 45
        assert add.apply_async((4, 4), countdown=1).get(timeout=60) == 8
        assert app.control.ping(timeout=2), "the worker hears what is broadcast"
        subprocess.run([*os.environ["SLOT_MOVE"].split(), PREFIX], check=True)
        work()
    finally:
        worker.terminate()
        worker.wait(20)


if __name__ == "__main__":
    started = time.monotonic()
    # A module, so that the worker finds the functions to run under the same name.
    import queues

    queues.with_celery()
    print(f"Celery: passed, {time.monotonic() - started:.1f} s", flush=True)
