"""huey over a list (BRPOP, results in a hash) and over a sorted set (BZPOPMIN, results
as keys that expire): retries, pipelines, groups, chords, a schedule, locks.
"""

import os
import signal
import sys
import time

from checks import Checks

from .workers import PATIENCE, Folder, Server, Worker, run

os.environ.setdefault("QUEUES_HUEY", "list")
from huey.api import chord, group  # noqa: E402

from .huey_jobs import add, alone, app, carry, clock, flaky, hold, kind, total  # noqa: E402

JOBS = 200

checks, folder, server = Checks(f"huey-{kind}"), Folder(), Server()
consumer = None


def start(name, workers):
    return Worker(folder, name, "-m", "huey.bin.huey_consumer", "queues.huey_jobs.app", "-w", workers, "-k", "thread",
                  QUEUES_HUEY=kind)


def get(result):
    return result.get(blocking=True, timeout=PATIENCE, backoff=1, max_delay=0.02)


def once(jobs):
    """How those jobs ran that did not run exactly once."""
    runs = folder.ledger.runs()
    return {job: runs[job] for job in jobs if runs[job] != 1}


def killed():
    """huey takes a job off the queue before it runs it: a killed consumer loses that
    one job, and nothing of what still waits."""
    hold("held")
    first = start("first", 1)
    first.until(lambda: folder.ledger.runs()["held"])
    behind = [add(f"behind:{number}", number, 1) for number in range(20)]
    checks.equal("the others wait", app.pending_count(), 20)
    first.kill()
    checks.equal("and go on waiting", app.pending_count(), 20)
    if kind == "priority":
        behind += [add(f"urgent:{number}", number, 1, priority=10) for number in range(5)]
    second = start("second", 1)
    checks.equal("the next consumer runs them", [get(result) for result in behind],
                 [number + 1 for number in [*range(20), *range(5)][:len(behind)]])
    order = [line for line in folder.ledger.lines() if not line.startswith("held")]
    wanted = [f"behind:{number}" for number in range(20)]
    if kind == "priority":
        wanted = [f"urgent:{number}" for number in range(5)] + wanted
    checks.equal("in order, the urgent ones first", order, wanted)
    checks.equal("the killed job ran once", folder.ledger.runs()["held"], 1)
    checks.equal("the consumer ends in order", second.stop(signal.SIGINT), 0)


def round_trips():
    global consumer
    consumer = start("main", 4)
    results = [add(f"add:{number}", number, 1) for number in range(JOBS)]
    checks.equal("every result arrives", [get(result) for result in results], [number + 1 for number in range(JOBS)])
    checks.equal("every job ran once", once(f"add:{number}" for number in range(JOBS)), {})


def canvas():
    steps = app.enqueue(add.s("pipe:1", 1, 1).then(carry, "pipe:2", 5).then(carry, "pipe:3", 10))
    checks.equal("a pipeline hands each result on", get(steps), [2, 7, 17])
    many = app.enqueue(group([add.s(f"group:{number}", number, number) for number in range(20)]))
    checks.equal("a group", get(many), [2 * number for number in range(20)])
    whole = app.enqueue(chord([add.s(f"chord:{number}", number, 0) for number in range(20)], total.s()))
    checks.equal("a chord", get(whole), sum(range(20)))
    jobs = (f"{name}:{number}" for name in ("group", "chord") for number in range(20))
    checks.equal("each of them ran once", once(jobs), {})


def failures():
    jobs = [f"flaky:{number}" for number in range(10)]
    results = [flaky(job, 2) for job in jobs]
    consumer.until(lambda: all(folder.ledger.runs()[job] >= 3 for job in jobs))
    # A result is stored for every try; the last one stays.
    consumer.until(lambda: all(app.storage.peek_data(result.id) for result in results))
    checks.equal("two failures, then success", {job: folder.ledger.runs()[job] for job in jobs}, dict.fromkeys(jobs, 3))


def later():
    sent = time.time()
    results = [clock.schedule((f"eta:{number}",), delay=1) for number in range(10)]
    checks.hold("nothing runs before its time", all(get(result) >= sent + 0.999 for result in results))
    checks.equal("and each once", once(f"eta:{number}" for number in range(10)), {})


def locks():
    jobs = [f"alone:{number}" for number in range(10)]
    for job in jobs:
        alone(job)
    consumer.until(lambda: all(folder.ledger.runs()[f"out {job}"] == 1 for job in jobs))
    inside = [line for line in folder.ledger.lines() if line.endswith(tuple(jobs)) and line.startswith(("in ", "out "))]
    pairs = [(one.split()[1], other.split()[1]) for one, other in zip(inside[::2], inside[1::2])]
    checks.hold("one at a time", len(pairs) == 10 and all(one == other for one, other in pairs), inside)


def stopped():
    checks.equal("nothing waits", (app.pending_count(), app.scheduled_count()), (0, 0))
    checks.equal("the consumer ends in order", consumer.stop(signal.SIGINT), 0)


def main():
    server.client.flushall()
    return run(checks, folder, [killed, round_trips, canvas, failures, later, locks, stopped])


if __name__ == "__main__":
    sys.exit(main())
