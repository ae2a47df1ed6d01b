"""Celery with Redis as its broker and for its results: a worker process of its own, and
the calls of its documentation (tasks, priorities, groups, chains, chords, retries).

    celery_shop.py PORT as-written|hashtags
"""

import os
import subprocess
import sys

from celery import Celery, chain, chord, group

PORT = int(os.environ.get("SHOP_PORT") or sys.argv[1])
VARIANT = os.environ.get("SHOP_VARIANT") or sys.argv[2]
URL = f"redis://127.0.0.1:{PORT}/0"

app = Celery("celery_shop", broker=URL, backend=URL)
app.conf.update(worker_hijack_root_logger=False, broker_connection_retry_on_startup=True)
if VARIANT == "hashtags":
    app.conf.update(
        broker_transport_options={"global_keyprefix": "{shop-jobs}"},
        result_backend_transport_options={"global_keyprefix": "{shop-results}"},
    )


@app.task
def add(one, other):
    return one + other


@app.task
def total(numbers):
    return sum(numbers)


@app.task(bind=True, max_retries=3)
def flaky(self):
    if self.request.retries < 2:
        raise self.retry(countdown=0)
    return self.request.retries


@app.task
def wrong():
    raise ValueError("as asked")


def main():
    environment = {**os.environ, "SHOP_PORT": str(PORT), "SHOP_VARIANT": VARIANT}
    command = [sys.executable, "-m", "celery", "-A", "celery_shop", "worker", "--pool", "threads"]
    command += ["--concurrency", "2", "--loglevel", "ERROR"]
    worker = subprocess.Popen(command, env=environment, cwd=os.path.dirname(os.path.abspath(__file__)))
    try:
        within = {"timeout": 60}
        assert add.delay(1, 2).get(**within) == 3
        assert add.apply_async((1, 2), priority=6).get(**within) == 3
        assert add.apply_async((1, 2), countdown=1).get(**within) == 3
        assert group(add.s(n, n) for n in range(5))().get(**within) == [0, 2, 4, 6, 8]
        assert chain(add.s(1, 1), add.s(5))().get(**within) == 7
        assert chord((add.s(n, 1) for n in range(4)), total.s())().get(**within) == 10
        assert flaky.delay().get(**within) == 2
        failed = wrong.delay()
        failed.get(propagate=False, **within)
        assert failed.failed()
        add.delay(1, 1).forget()
        assert app.control.ping(timeout=2)
        app.control.purge()
    finally:
        worker.terminate()
        worker.wait(timeout=60)


if __name__ == "__main__":
    main()
