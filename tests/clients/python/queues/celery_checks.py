"""Celery: its workers through the redis transport (BRPOP, unacknowledged messages in
a hash and a sorted set, redelivery under WATCH), results through pub/sub, remote
control through patterns. Jobs run as often as they should, whatever happens to the
worker: stopped amid work, killed amid work.
"""

import sys
import time

from celery import Celery, chain, chord, group
from celery.exceptions import TaskRevokedError
from kombu.exceptions import OperationalError

from checks import Checks

from .celery_jobs import add, app, brief, clock, collect, flaky, hold, wrong
from .workers import PATIENCE, URL, Folder, Server, Worker, eventually, left_out, run

JOBS, LEFT = 200, 150
QUIET = ("--without-gossip", "--without-mingle", "--without-heartbeat")

checks, folder, server = Checks("celery"), Folder(), Server()
main_worker = None


def worker(name, *words, **environment):
    return Worker(folder, name, "-m", "celery", "-A", "queues.celery_jobs", "worker", "-l", "info",
                  "-n", f"{name}@here", *words, **environment)


def once(jobs):
    """How those jobs ran that did not run exactly once."""
    runs = folder.ledger.runs()
    return {job: runs[job] for job in jobs if runs[job] != 1}


def refused():
    """With the settings that Celery has by itself."""
    bare = Celery("bare", broker=URL)
    checks.raises("without a hashtag", OperationalError, "Keys in request don't hash to the same slot",
                  lambda: bare.send_task("nobody's", ignore_result=True))
    checks.equal("no job is sent", server.client.dbsize(), 0)


def killed():
    """A worker dies over a job, with others fetched and not begun. Nothing is lost:
    the next one runs them when the first has been silent for the visibility timeout."""
    first = worker("first", "-c", "1", *QUIET)
    held = hold.delay("held")
    first.until(lambda: folder.ledger.runs()["begun held"])
    behind = [brief.apply_async((f"behind:{number}",), acks_late=True) for number in range(3)]
    # Fetched by the worker: the queue is empty and all four are unacknowledged.
    first.until(lambda: server.client.hlen("{jobs}unacked") == 4)
    first.kill()
    checks.equal("the killed worker leaves them unacknowledged", server.client.zcard("{jobs}unacked_index"), 4)
    folder.open("held")
    second = worker("second", "-c", "1", *QUIET, QUEUES_VISIBILITY="3")
    checks.equal("the job is delivered again", held.get(timeout=PATIENCE), "held")
    for result in behind:
        result.get(timeout=PATIENCE)
    runs = folder.ledger.runs()
    checks.equal("it was begun twice and done once", (runs["begun held"], runs["done held"]), (2, 1))
    checks.equal("those behind it ran once", once(f"behind:{number}" for number in range(3)), {})
    checks.hold("nothing stays unacknowledged",
                eventually(lambda: not server.client.exists("{jobs}unacked", "{jobs}unacked_index")))
    checks.equal("the second worker ends in order", second.stop(), 0)


def priorities():
    """Sent before anybody listens, the last first: one worker takes them by priority."""
    sent = [add.apply_async((f"priority:{priority}:{number}", number, 1), priority=priority)
            for priority in (9, 6, 3, 0) for number in range(5)]
    one = worker("one", "-c", "1", "-P", "threads", *QUIET)
    for result in sent:
        result.get(timeout=PATIENCE)
    order = [job for job in folder.ledger.lines() if job.startswith("priority:")]
    wanted = [f"priority:{priority}:{number}" for priority in (0, 3, 6, 9) for number in range(5)]
    checks.equal("the most urgent first, each in the order it was sent", order, wanted)
    checks.equal("a worker of threads ends in order", one.stop(), 0)


def round_trips():
    global main_worker
    main_worker = worker("main", "-c", "2")  # with gossip and mingling: they broadcast
    results = [add.delay(f"add:{number}", number, 1) for number in range(JOBS)]
    checks.equal("every result arrives", [result.get(timeout=PATIENCE) for result in results],
                 [number + 1 for number in range(JOBS)])
    checks.equal("every job ran once", once(f"add:{number}" for number in range(JOBS)), {})
    late = add.AsyncResult(results[0].id)
    checks.equal("a result is there for who asks later", (late.state, late.get(timeout=PATIENCE)), ("SUCCESS", 1))
    late.forget()
    checks.equal("until it is forgotten", add.AsyncResult(results[0].id).state, "PENDING")


def canvas():
    many = group(add.s(f"group:{number}", number, number) for number in range(50))()
    checks.equal("a group's results, by MGET", many.get(timeout=PATIENCE), [2 * number for number in range(50)])
    last = chain(clock.si("chain:1"), add.si("chain:2", 2, 3), add.si("chain:3", 20, 3))()
    checks.equal("a chain's last result", last.get(timeout=PATIENCE), 23)
    checks.equal("each of them ran once", once([f"chain:{number}" for number in (1, 2, 3)]), {})
    if not server.scripts:
        return left_out(checks, "chords", "scripts")
    whole = chord((add.s(f"chord:{number}", number, 0) for number in range(50)), collect.s("chord:all"))
    checks.equal("a chord's body gets all of its header", whole().get(timeout=PATIENCE), sum(range(50)))
    checks.equal("each of them ran once", once([f"chord:{number}" for number in [*range(50), "all"]]), {})


def failures():
    results = [flaky.delay(f"flaky:{number}", 3) for number in range(20)]
    checks.equal("three retries, then success", [result.get(timeout=PATIENCE) for result in results], [4] * 20)
    runs = folder.ledger.runs()
    checks.equal("each ran four times", [runs[f"flaky:{number}"] for number in range(20)], [4] * 20)
    checks.raises("an exception reaches the caller", ValueError, "this is wrong",
                  lambda: wrong.delay("this").get(timeout=PATIENCE))
    checks.equal("and is not tried again", once(["this"]), {})


def later():
    sent = time.time()
    results = [clock.apply_async((f"eta:{number}",), countdown=1) for number in range(10)]
    checks.hold("nothing runs before its time", all(result.get(timeout=PATIENCE) >= sent + 1 for result in results))
    checks.equal("and each once", once(f"eta:{number}" for number in range(10)), {})


def control():
    """Broadcasts reach the worker as pub/sub messages, answers come as a queue."""
    answers = app.control.broadcast("ping", reply=True, timeout=PATIENCE, limit=1)
    checks.equal("ping", answers, [{"main@here": {"ok": "pong"}}])
    doomed = add.apply_async(("revoked", 1, 1), countdown=2)
    app.control.broadcast("revoke", {"task_id": doomed.id}, reply=True, timeout=PATIENCE, limit=1)
    checks.raises("a revoked job", TaskRevokedError, "revoked", lambda: doomed.get(timeout=PATIENCE))
    checks.equal("never runs", folder.ledger.runs()["revoked"], 0)
    checks.equal("the worker ends in order", main_worker.stop(), 0)


def stopped():
    """SIGTERM amid work: what was begun is finished, what was only fetched goes back."""
    results = [brief.delay(f"left:{number}") for number in range(LEFT)]
    leaving = worker("leaving", "-c", "2", "-P", "threads", *QUIET)
    leaving.until(lambda: folder.ledger.runs()["left:20"])
    checks.equal("the worker ends in order", leaving.stop(), 0)
    checks.hold("before all is done", sum(folder.ledger.runs()[f"left:{number}"] for number in range(LEFT)) < LEFT)
    rest = worker("rest", "-c", "2", *QUIET)
    for result in results:
        result.get(timeout=PATIENCE)
    checks.equal("and the next one does the rest", once(f"left:{number}" for number in range(LEFT)), {})
    checks.equal("it ends in order", rest.stop(), 0)
    waiting = server.client.exists("{jobs}celery", "{jobs}unacked", "{jobs}unacked_index")
    checks.equal("no message is left", waiting, 0)


def main():
    server.client.flushall()
    return run(checks, folder, [refused, killed, priorities, round_trips, canvas, failures, later, control,
                                 stopped])


if __name__ == "__main__":
    sys.exit(main())
