"""redis-py's client-side cache, over RESP3: at one address, and at the nodes of a cluster if
SLOTWAY_NODES names any. What it keeps, what it drops, and that it holds no old value while
others write.
"""

import os
import sys
import threading
import time

import redis
from redis.cache import CacheConfig
from redis.connection import CacheProxyConnection

from checks import Checks, options

# The client asks for 7.4, "to maximize compatibility with all Redis products"; what it uses is older.
CacheProxyConnection.MIN_ALLOWED_VERSION = "7.0.0"

PATIENCE_S = 20
KEYS = [f"cache:{number}" for number in range(20)]
WRITES = 300


def connect(cached=True):
    more = {"protocol": 3, "decode_responses": True, "socket_timeout": PATIENCE_S}
    if cached:
        more["cache_config"] = CacheConfig(max_size=1000)
    nodes = os.environ.get("SLOTWAY_NODES", "").split()
    if nodes:
        host, port = nodes[0].rsplit(":", 1)
        return redis.RedisCluster(host=host, port=int(port), **more)
    asked = options()
    return redis.Redis(asked.host, asked.port, **more)


def until(what, is_so):
    """Waits until it is so; a cache reads its invalidations when it is asked."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        if is_so():
            return True
        time.sleep(0.01)
    return False


def calls_of_get(client):
    """How many GETs the servers have run."""
    if isinstance(client, redis.RedisCluster):
        stats = client.info("commandstats", target_nodes=redis.RedisCluster.ALL_NODES)
        # One node's reply stands alone.
        replies = stats.values() if all(isinstance(reply, dict) for reply in stats.values()) else [stats]
    else:
        replies = [client.info("commandstats")]
    return sum(reply.get("cmdstat_get", {}).get("calls", 0) for reply in replies)


def keeps(checks, cached, plain):
    plain.set("cache:a", "1")
    checks.equal("read", cached.get("cache:a"), "1")
    before = calls_of_get(plain)
    checks.equal("kept", [cached.get("cache:a") for _ in range(10)], ["1"] * 10)
    checks.equal("without asking", calls_of_get(plain), before)
    checks.equal("nothing", cached.get("cache:none"), None)


def drops(checks, cached, plain):
    for key in KEYS:
        plain.set(key, "old")
        cached.get(key)
    for key in KEYS:
        plain.set(key, "new")
    checks.hold("every change is seen", until("new", lambda: [cached.get(key) for key in KEYS] == ["new"] * len(KEYS)))
    plain.delete(KEYS[0])
    checks.hold("a key that is gone", until("gone", lambda: cached.get(KEYS[0]) is None))
    plain.set(KEYS[1], "brief", px=30)
    checks.hold("a key that expires", until("expired", lambda: cached.get(KEYS[1]) is None))
    with plain.pipeline(transaction=True) as pipe:
        pipe.set(KEYS[2], "queued").execute()
    checks.hold("a transaction", until("queued", lambda: cached.get(KEYS[2]) == "queued"))
    cached.set(KEYS[3], "own")
    checks.hold("its own change", until("own", lambda: cached.get(KEYS[3]) == "own"))
    plain.flushall()
    checks.hold("FLUSHALL", until("flushed", lambda: all(cached.get(key) is None for key in KEYS)))


def while_others_write(checks, cached, plain):
    """A writer counts a key up; what the cache shows never goes back, and ends at the last."""
    plain.set("cache:count", "0")

    def write():
        writer = connect(cached=False)
        for _ in range(WRITES):
            writer.incr("cache:count")
        writer.close()

    thread = threading.Thread(target=write)
    thread.start()
    seen = [int(cached.get("cache:count"))]
    while thread.is_alive():
        seen.append(int(cached.get("cache:count")))
    thread.join()
    checks.hold("never back", seen == sorted(seen))
    checks.hold("the last is seen", until("last", lambda: cached.get("cache:count") == str(WRITES)))


def main():
    where = "cluster" if os.environ.get("SLOTWAY_NODES") else "one address"
    checks = Checks(f"redis-py caches, {where}")
    plain = connect(cached=False)
    plain.flushall()
    for part in (keeps, drops, while_others_write):
        checks.part = part.__name__
        cached = connect()
        try:
            part(checks, cached, plain)
        except Exception as error:
            checks.hold("ended early", False, repr(error))
        cached.close()
    plain.close()
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
