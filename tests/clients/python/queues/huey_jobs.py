"""What a huey consumer imports. Two kinds of storage, by QUEUES_HUEY:

- `list`: one list and one hash, each a key of its own. Nothing crosses slots.
- `priority`: a sorted set taken by BZPOPMIN, and a key for each result. huey reads
  several of those at once, so that its name must be a hashtag: `clean_name=False`
  keeps the braces.
"""

import os
import time

import huey
from huey.storage import PriorityRedisExpireStorage, RedisStorage

from .workers import HOST, PORT, Folder, Server

folder = Folder.of_worker() if "QUEUES_FOLDER" in os.environ else None
kind = os.environ.get("QUEUES_HUEY", "list")
SCRIPTS = Server().scripts


class Schedule:
    """huey takes what is due from its schedule with a script. One transaction on
    one key does the same."""

    def read_schedule(self, ts):
        if SCRIPTS:
            return super().read_schedule(ts)
        due = self.convert_ts(ts)
        pipe = self.conn.pipeline()
        pipe.zrangebyscore(self.schedule_key, "-inf", due)
        pipe.zremrangebyscore(self.schedule_key, "-inf", due)
        return pipe.execute()[0]


class ListStorage(Schedule, RedisStorage):
    pass


class PriorityStorage(Schedule, PriorityRedisExpireStorage):
    pass


STORAGES = {"list": ListStorage, "priority": PriorityStorage}
app = huey.Huey("{jobs}", storage_class=STORAGES[kind], clean_name=False, host=HOST, port=PORT)


@app.task()
def add(job, one, other):
    folder.ledger.note(job)
    return one + other


@app.task()
def carry(job, more, so_far):
    folder.ledger.note(job)
    return so_far + more


@app.task()
def total(numbers):
    return sum(numbers)


@app.task(retries=3)
def flaky(job, failures):
    """Fails that often, then tells how often it ran."""
    folder.ledger.note(job)
    runs = folder.ledger.runs()[job]
    if runs <= failures:
        raise ValueError(job)
    return runs


@app.task()
def clock(job):
    folder.ledger.note(job)
    return time.time()


@app.task()
def hold(job):
    """Stays until the checks let it go, or the worker is killed."""
    folder.ledger.note(job)
    folder.wait_at(job)


@app.task(retries=1000)
@app.lock_task("alone")
def alone(job):
    """Two of these at once would be seen: whoever finds the lock held tries again."""
    folder.ledger.note("in", job)
    time.sleep(0.002)  # the work that the lock protects
    folder.ledger.note("out", job)
