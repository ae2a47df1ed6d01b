"""Locks and limits of several libraries, each contended for by threads with
connections of their own: redis-py, python-redis-lock, redlock-py, pottery, dramatiq's
rate limiters (WATCH and MULTI), limits. Through RedisCluster, if there are nodes.
"""

import contextlib
import sys
import threading
import time

import limits
import pottery
import redis
import redis_lock
import redlock
from dramatiq.rate_limits import Barrier, BucketRateLimiter, ConcurrentRateLimiter, WindowRateLimiter
from dramatiq.rate_limits.backends import RedisBackend
from redis.exceptions import ClusterCrossSlotError, LockNotOwnedError, ResponseError

from checks import Checks

from .locks import WatchingLock
from .workers import HOST, NODES, PATIENCE, PORT, Folder, Server, connect, eventually, left_out, run

THREADS, TURNS = 6, 10
DAY = 86_400_000

checks, folder, server = Checks("locks-cluster" if NODES else "locks"), Folder(), Server()


def contend(work, threads=THREADS):
    """Calls `work` in several threads at once and gives what each returned or raised."""
    answers, together = [], threading.Barrier(threads)

    def go():
        try:
            together.wait(PATIENCE)
            answers.append(work())
        except Exception as error:
            answers.append(error)

    crowd = [threading.Thread(target=go, daemon=True) for _ in range(threads)]
    for one in crowd:
        one.start()
    for one in crowd:
        one.join(PATIENCE)
    return answers


def exclusion(what, take):
    """`take(client)` gives a context manager that at most one thread is in. What it
    protects are two commands that would lose counts if they met others'."""
    server.client.set("protected", 0)
    inside = threading.Semaphore(1)
    met = []

    def work():
        client = connect()
        for _ in range(TURNS):
            with take(client):
                if not inside.acquire(blocking=False):
                    met.append("somebody else")
                client.set("protected", int(client.get("protected")) + 1)
                inside.release()

    checks.equal(f"{what}: every thread gets through", contend(work), [None] * THREADS)
    checks.equal(f"{what}: one at a time", (met, int(server.client.get("protected"))), ([], THREADS * TURNS))


def locks(lock_class):
    def take(client, **more):
        return client.lock("lock", timeout=PATIENCE, sleep=0.002, lock_class=lock_class, **more)

    exclusion(lock_class.__name__, take)
    one, other = take(connect()), take(connect(), blocking=False)
    checks.equal("held", (one.acquire(), other.acquire()), (True, False))
    checks.equal("extended", (one.extend(100), 100 < server.client.ttl("lock") <= 100 + PATIENCE), (True, True))
    checks.equal("started anew", (one.reacquire(), server.client.ttl("lock") <= PATIENCE), (True, True))
    server.client.set("lock", "somebody else")
    checks.raises("lost: cannot be extended", LockNotOwnedError, "no longer owned", lambda: one.extend(1))
    checks.raises("lost: cannot be released", LockNotOwnedError, "no longer owned", one.release)
    checks.equal("and is left alone", server.client.getdel("lock"), b"somebody else")
    short = connect().lock("lock", timeout=0.05, lock_class=lock_class)
    short.acquire()
    checks.hold("runs out by itself", eventually(other.acquire))
    other.release()
    checks.equal("free again", server.client.exists("lock"), 0)


def locks_by_watch():
    locks(WatchingLock)


def locks_by_script():
    if not server.scripts:
        return left_out(checks, "redis-py's own Lock", "scripts")
    locks(redis.lock.Lock)


def locks_that_wait():
    """python-redis-lock: who waits is woken through a list. Its two keys share a slot
    if the name is a hashtag."""
    if not server.scripts:
        return left_out(checks, "python-redis-lock", "scripts")
    exclusion("redis_lock", lambda client: redis_lock.Lock(client, "{waited}", expire=PATIENCE))
    checks.raises("without a hashtag", ClusterCrossSlotError, "don't hash",
                  lambda: redis_lock.Lock(connect(), "plain", expire=PATIENCE).reset())


def redlocks():
    """Of the two libraries one releases by EVAL, the other by EVALSHA. One server is all
    of the masters here: a cluster is one."""
    if not server.scripts:
        return left_out(checks, "redlock", "scripts")

    @contextlib.contextmanager
    def of_redlock(client):
        manager = redlock.Redlock([client], retry_count=PATIENCE * 100, retry_delay=0.01)
        held = manager.lock("redlock-py", PATIENCE * 1000)
        try:
            yield
        finally:
            manager.unlock(held)

    exclusion("redlock-py", of_redlock)
    manager = redlock.Redlock([connect()], retry_count=1)
    held = manager.lock("redlock-py", PATIENCE * 1000)
    checks.equal("taken once", (bool(held), manager.lock("redlock-py", 1000)), (True, False))
    manager.unlock(held._replace(key=b"another's"))
    checks.equal("another's token releases nothing", server.client.get("redlock-py"), held.key)
    manager.unlock(held)
    checks.equal("its own does", server.client.exists("redlock-py"), 0)

    def of_pottery(client, **more):
        return pottery.Redlock(key="pottery", masters={client}, auto_release_time=PATIENCE, **more)

    exclusion("pottery", of_pottery)
    one, other = of_pottery(connect()), of_pottery(connect())
    checks.equal("taken once", (one.acquire(), other.acquire(blocking=False)), (True, False))
    checks.hold("for a time", 0 < one.locked() <= PATIENCE)
    one.extend()
    checks.raises("of another's nothing is released", pottery.ReleaseUnlockedLock, "pottery", other.release)
    one.release()
    checks.equal("its own is", (one.locked(), server.client.exists("redlock:pottery")), (0, 0))


def limiters():
    """dramatiq's, which look and act under WATCH."""
    backend = RedisBackend(client=connect())
    three = ConcurrentRateLimiter(backend, "three", limit=3)
    inside, most, lock = [], [0], threading.Lock()

    def work():
        done = 0
        deadline = time.monotonic() + PATIENCE
        while done < TURNS and time.monotonic() < deadline:
            with three.acquire(raise_on_failure=False) as acquired:
                if acquired:
                    with lock:
                        inside.append(1)
                        most[0] = max(most[0], len(inside))
                    done += 1
                    with lock:
                        inside.pop()
        return done

    checks.equal("every thread gets its turns", contend(work), [TURNS] * THREADS)
    checks.hold("never more than three inside", 1 <= most[0] <= 3, most)

    def taken(limiter):
        def work():
            count = 0
            for _ in range(TURNS):
                with limiter.acquire(raise_on_failure=False) as acquired:
                    count += acquired
            return count

        return sum(contend(work))

    checks.equal("ten a day", taken(BucketRateLimiter(backend, "bucket", limit=10, bucket=DAY)), 10)
    checks.equal("ten in any half minute", taken(WindowRateLimiter(backend, "{window}", limit=10, window=30)), 10)

    def without_a_hashtag():
        with WindowRateLimiter(backend, "window", limit=10, window=30).acquire():
            pass

    checks.raises("a window without a hashtag watches many slots", ClusterCrossSlotError, "don't hash",
                  without_a_hashtag)

    def barrier():
        return Barrier(RedisBackend(client=connect()), "barrier", ttl=DAY)

    checks.equal("a barrier is made once", (barrier().create(THREADS), barrier().create(THREADS)), (True, False))
    checks.equal("and lets all go when all are there", contend(lambda: barrier().wait(timeout=PATIENCE * 1000)),
                 [True] * THREADS)


def limits_by_script():
    if not server.scripts:
        return left_out(checks, "limits", "scripts")
    scheme = "redis+cluster" if NODES else "redis"
    storage = limits.storage.storage_from_string(f"{scheme}://{HOST}:{PORT}")
    ten, hundred = limits.parse("10/day"), limits.parse("100/month")
    for kind in (limits.strategies.FixedWindowRateLimiter, limits.strategies.MovingWindowRateLimiter,
                 limits.strategies.SlidingWindowCounterRateLimiter):
        limiter = kind(storage)
        name = kind.__name__
        hits = contend(lambda: sum(limiter.hit(ten, name) for _ in range(TURNS)))
        checks.equal(f"{name}: ten a day", sum(hits), 10)
        window = limiter.get_window_stats(ten, name)
        checks.equal(f"{name}: nothing remains", (window.remaining, limiter.test(ten, name)), (0, False))
        checks.hold(f"{name}: until tomorrow", 0 < window.reset_time - time.time() <= 2 * DAY / 1000, window)
        costs = [limiter.hit(hundred, name, "dear", cost=30) for _ in range(4)]
        checks.equal(f"{name}: at a cost", costs, [True, True, True, False])
        # A fixed window counts what it refuses, too.
        left = 0 if kind is limits.strategies.FixedWindowRateLimiter else 10
        checks.equal(f"{name}: what remains", limiter.get_window_stats(hundred, name, "dear").remaining, left)
        limiter.clear(ten, name)
        checks.hold(f"{name}: cleared", limiter.hit(ten, name))
    server.client.set("another's", "1")
    if NODES:
        checks.hold("reset takes its own keys", storage.reset() > 0)
        checks.equal("and no others", server.client.get("another's"), b"1")
    else:
        # One script over all keys, given none.
        checks.raises("reset, where there are slots", ResponseError, "Script attempted to access", storage.reset)


def main():
    server.client.flushall()
    parts = [locks_by_script, redlocks, limits_by_script]
    if not NODES:
        # RedisCluster's pipelines have no WATCH, and python-redis-lock wants a Redis.
        parts += [locks_by_watch, locks_that_wait, limiters]
    return run(checks, folder, parts)


if __name__ == "__main__":
    sys.exit(main())
