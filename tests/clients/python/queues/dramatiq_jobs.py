"""What a dramatiq worker imports. Its broker is one script that names one key, the
namespace, and works on others made from it: a namespace with a hashtag keeps all
of them in one slot. Results need no script.
"""

import os
import time

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

from .workers import Folder, connect

folder = Folder.of_worker() if "QUEUES_FOLDER" in os.environ else None
broker = RedisBroker(
    client=connect(), namespace="{jobs}",
    # A worker that has been silent for so long is taken for dead, and every command
    # looks for such workers: at once, where the default is a minute, now and then.
    heartbeat_timeout=int(os.environ.get("QUEUES_HEARTBEAT", "60000")), maintenance_chance=1_000_000,
)
broker.add_middleware(Results(backend=RedisBackend(client=connect())))
dramatiq.set_broker(broker)


@dramatiq.actor(store_results=True)
def add(job, one, other):
    folder.ledger.note(job)
    return one + other


@dramatiq.actor(store_results=True, max_retries=3, min_backoff=10, max_backoff=20)
def flaky(job, failures):
    """Fails that often, then tells how often it ran."""
    folder.ledger.note(job)
    runs = folder.ledger.runs()[job]
    if runs <= failures:
        raise ValueError(job)
    return runs


@dramatiq.actor(store_results=True)
def clock(job):
    folder.ledger.note(job)
    return time.time()


@dramatiq.actor(store_results=True)
def hold(job):
    """Stays until the checks let it go: what a killed worker dies over."""
    folder.ledger.note("begun", job)
    folder.wait_at(job)
    folder.ledger.note("done", job)
    return job
