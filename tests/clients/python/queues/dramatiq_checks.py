"""dramatiq: its worker, a script per step; results through BRPOPLPUSH. Through
RedisCluster, if there are nodes.
"""

import sys
import time

from dramatiq import group, pipeline

from checks import Checks

from .dramatiq_jobs import add, broker, clock, flaky, hold
from .workers import NODES, PATIENCE, Folder, Server, Worker, left_out, run

JOBS = 200

checks, folder, server = Checks("dramatiq-cluster" if NODES else "dramatiq"), Folder(), Server()
main_worker = None


def start(name, threads, **environment):
    return Worker(folder, name, "-m", "dramatiq", "queues.dramatiq_jobs", "-p", "1", "-t", threads, **environment)


def get(message):
    return message.get_result(block=True, timeout=PATIENCE * 1000)


def once(jobs):
    """How those jobs ran that did not run exactly once."""
    runs = folder.ledger.runs()
    return {job: runs[job] for job in jobs if runs[job] != 1}


def killed():
    """A worker dies over a job, with others fetched and not begun: the next one gets
    all of them once the first has been silent for the heartbeat's timeout."""
    held = hold.send("held")
    first = start("first", 1)
    first.until(lambda: folder.ledger.runs()["begun held"])
    behind = [add.send(f"behind:{number}", number, 1) for number in range(5)]
    first.kill()
    folder.open("held")
    second = start("second", 1, QUEUES_HEARTBEAT="2000")
    checks.equal("the job is delivered again", get(held), "held")
    checks.equal("and those behind it", [get(message) for message in behind], list(range(1, 6)))
    runs = folder.ledger.runs()
    checks.equal("it was begun twice and done once", (runs["begun held"], runs["done held"]), (2, 1))
    checks.equal("those behind it ran once", once(f"behind:{number}" for number in range(5)), {})
    checks.equal("the second worker ends in order", second.stop(), 0)


def round_trips():
    global main_worker
    main_worker = start("main", 4)
    messages = [add.send(f"add:{number}", number, 1) for number in range(JOBS)]
    checks.equal("every result arrives", [get(message) for message in messages], list(range(1, JOBS + 1)))
    checks.equal("every job ran once", once(f"add:{number}" for number in range(JOBS)), {})


def composed():
    last = clock.message_with_options(args=("pipe:2",), pipe_ignore=True)
    steps = pipeline([add.message("pipe:1", 1, 1), last]).run()
    checks.hold("a pipeline's last result", steps.get_result(block=True, timeout=PATIENCE * 1000) > 0)
    many = group(add.message(f"group:{number}", number, number) for number in range(20)).run()
    checks.equal("a group's results", list(many.get_results(block=True, timeout=PATIENCE * 1000)),
                 [2 * number for number in range(20)])
    jobs = ["pipe:1", "pipe:2", *(f"group:{number}" for number in range(20))]
    checks.equal("each of them ran once", once(jobs), {})


def failures():
    jobs = [f"flaky:{number}" for number in range(10)]
    for job in jobs:
        flaky.send(job, 2)
    main_worker.until(lambda: all(folder.ledger.runs()[job] >= 3 for job in jobs))
    broker.join(add.queue_name, timeout=PATIENCE * 1000)
    checks.equal("two failures, then success", {job: folder.ledger.runs()[job] for job in jobs}, dict.fromkeys(jobs, 3))


def later():
    sent = time.time()
    messages = [clock.send_with_options(args=(f"eta:{number}",), delay=1000) for number in range(10)]
    checks.hold("nothing runs before its time", all(get(message) >= sent + 0.999 for message in messages))
    checks.equal("and each once", once(f"eta:{number}" for number in range(10)), {})


def stopped():
    checks.equal("the worker ends in order", main_worker.stop(), 0)
    checks.equal("no message is left", broker.do_qsize(add.queue_name), 0)


def main():
    server.client.flushall()
    if not server.scripts:
        left_out(checks, "everything", "scripts")
        return 0
    return run(checks, folder, [killed, round_trips, composed, failures, later, stopped])


if __name__ == "__main__":
    sys.exit(main())
