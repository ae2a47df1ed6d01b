"""What a Celery worker imports: the settings that a cluster asks for, and jobs.

Every key of the broker carries one tag and every key of the results another, so
that each lives in one slot: Celery's transactions (unacknowledged messages, a
result and its announcement) and its BRPOP and MGET of several keys then never
cross slots.
"""

import contextlib
import os
import time

import kombu.transport.redis
from celery import Celery

from .workers import URL, Folder, Server

folder = Folder.of_worker() if "QUEUES_FOLDER" in os.environ else None
app = Celery("queues", broker=URL, backend=URL)
app.conf.update(
    broker_transport_options={
        "global_keyprefix": "{jobs}",
        "priority_steps": [0, 3, 6, 9],
        "visibility_timeout": float(os.environ.get("QUEUES_VISIBILITY", "3600")),
        # How often a worker looks for messages that another took and never
        # acknowledged: every second, where the default is every 100 seconds.
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
    },
    result_backend_transport_options={"global_keyprefix": "{results}"},
    broker_connection_retry_on_startup=True,
)


def without_scripts():
    """Celery's redis transport without Lua: queues that never expire need no script
    to renew their bindings, and the mutex around redelivery is given back by DEL
    instead of a script. (What it guards is guarded a second time, by WATCH.)"""
    app.conf.update(control_queue_expires=None, event_queue_expires=None)

    @contextlib.contextmanager
    def mutex(client, name, expire):
        if not client.set(name, "held", nx=True, ex=expire):
            raise kombu.transport.redis.MutexHeld
        try:
            yield
        finally:
            client.delete(name)

    kombu.transport.redis.Mutex = mutex


if not Server().scripts:
    without_scripts()


@app.task
def add(job, one, other):
    folder.ledger.note(job)
    return one + other


@app.task
def collect(numbers, job):
    folder.ledger.note(job)
    return sum(numbers)


@app.task(bind=True, max_retries=5)
def flaky(self, job, failures):
    """Fails that often, then tells how often it ran."""
    folder.ledger.note(job)
    if self.request.retries < failures:
        raise self.retry(countdown=0)
    return self.request.retries + 1


@app.task
def wrong(job):
    folder.ledger.note(job)
    raise ValueError(f"{job} is wrong")


@app.task
def clock(job):
    folder.ledger.note(job)
    return time.time()


@app.task
def brief(job):
    folder.ledger.note(job)
    time.sleep(0.005)  # the job's work: long enough to be stopped amid many


@app.task(acks_late=True)
def hold(job):
    """Stays until the checks let it go: what a killed worker dies over."""
    folder.ledger.note("begun", job)
    folder.wait_at(job)
    folder.ledger.note("done", job)
    return job
