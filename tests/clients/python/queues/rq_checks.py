"""RQ through a connection that keeps it in one slot: BLMOVE, job hashes, registries in
sorted sets, results in streams, under WATCH and MULTI all the while.
"""

import sys

from redis.exceptions import ClusterCrossSlotError
from rq import Queue, Retry
from rq.registry import StartedJobRegistry

from checks import Checks

from .one_slot import OneSlot
from .rq_jobs import add, flaky, hold
from .workers import HOST, PORT, URL, Folder, Server, Worker, run

JOBS = 60

checks, folder, server = Checks("rq"), Folder(), Server()
connection = OneSlot(host=HOST, port=PORT)
queue = Queue("work", connection=connection)
urgent = Queue("urgent", connection=connection)
main_worker = None


def start(name, kind, *queues):
    return Worker(folder, name, "-m", "rq.cli", "worker", "--worker-class", kind, "--url", URL,
                  "--connection-class", "queues.one_slot.OneSlot", *queues)


def results(worker, jobs):
    """What the jobs came to, when all have; an RQ job's status says so."""
    worker.until(lambda: all(job.get_status() in ("finished", "failed") for job in jobs))
    return [job.return_value() for job in jobs]


def once(jobs):
    """How those jobs ran that did not run exactly once."""
    runs = folder.ledger.runs()
    return {job: runs[job] for job in jobs if runs[job] != 1}


def refused():
    checks.raises("without a hashtag", ClusterCrossSlotError, "don't hash",
                  lambda: Queue("work", connection=server.client).enqueue(add, "never", 1, 1))
    checks.equal("no job waits", server.client.llen("rq:queue:work"), 0)
    server.client.flushall()


def killed():
    """A worker dies over a job with others behind it. RQ knows it as started until its
    heartbeat has run out, and then as failed: to be enqueued again by whoever cares."""
    held = queue.enqueue(hold, "held")
    first = start("first", "rq.worker.SimpleWorker", "work")
    first.until(lambda: folder.ledger.runs()["begun held"])
    behind = [queue.enqueue(add, f"behind:{number}", number, 1) for number in range(5)]
    first.kill()
    checks.equal("the others wait", len(queue), 5)
    checks.equal("the killed job counts as started", StartedJobRegistry(queue=queue).get_job_ids(), [held.id])
    folder.open("held")
    queue.enqueue_job(held)
    second = start("second", "rq.worker.SimpleWorker", "work")
    checks.equal("all are done by the next", results(second, [held, *behind]), ["held", 1, 2, 3, 4, 5])
    checks.equal("it was begun twice", folder.ledger.runs()["begun held"], 2)
    checks.equal("those behind it ran once", once(f"behind:{number}" for number in range(5)), {})
    checks.equal("the second worker ends in order", second.stop(), 0)


def round_trips():
    """Two queues, the urgent one first, a process for each job."""
    global main_worker
    jobs = [queue.enqueue(add, f"add:{number}", number, 1) for number in range(JOBS // 3)]
    jobs += urgent.enqueue_many([Queue.prepare_data(add, (f"urgent:{number}", number, 1)) for number in range(5)])
    main_worker = start("main", "rq.worker.Worker", "urgent", "work")
    checks.equal("every result arrives", results(main_worker, jobs), [*range(1, JOBS // 3 + 1), *range(1, 6)])
    order = [line for line in folder.ledger.lines() if line.startswith(("add:", "urgent:"))]
    checks.equal("the urgent queue first, each in order", order,
                 [*(f"urgent:{number}" for number in range(5)), *(f"add:{number}" for number in range(JOBS // 3))])


def failures():
    jobs = [queue.enqueue(flaky, f"flaky:{number}", 2, retry=Retry(max=3)) for number in range(5)]
    checks.equal("two failures, then success", results(main_worker, jobs), [3] * 5)
    wrong = queue.enqueue(flaky, "wrong", 9)
    results(main_worker, [wrong])
    checks.equal("one that fails is known as failed", wrong.id in queue.failed_job_registry.get_job_ids(), True)
    checks.hold("with its reason", "ValueError: wrong" in wrong.latest_result().exc_string)


def dependent():
    before = queue.enqueue(add, "before", 1, 1)
    after = queue.enqueue(add, "after", 2, 2, depends_on=before)
    checks.equal("one that waits for another", results(main_worker, [after]), [4])
    order = [line for line in folder.ledger.lines() if line in ("before", "after")]
    checks.equal("runs after it", order, ["before", "after"])


def stopped():
    checks.equal("the worker ends in order", main_worker.stop(), 0)
    checks.equal("no job waits", (len(queue), len(urgent)), (0, 0))


def main():
    server.client.flushall()
    return run(checks, folder, [refused, killed, round_trips, failures, dependent, stopped])


if __name__ == "__main__":
    sys.exit(main())
