"""redis-py's script objects and its asyncio Lock: scripts that a server has not seen or
has forgotten, in calls, pipelines and transactions, and what they return. On the router
port; through RedisCluster, where SLOTWAY_NODES names nodes.
"""

import asyncio
import os
import sys

import redis
import redis.asyncio
from redis.exceptions import (
    LockError, LockNotOwnedError, NoScriptError, RedisClusterException, ResponseError, WatchError,
)

from checks import Checks, options

NODES = os.environ.get("SLOTWAY_NODES", "").split()
OPTIONS = options()
TASKS, TURNS = 8, 10

#: Gives the lock back if it is still the caller's.
RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"
#: Admits a call unless there were as many as allowed in the window before.
ADMIT = """
local now, window, most = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - window)
if redis.call('ZCARD', KEYS[1]) >= most then
    return {0, redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2]}
end
redis.call('ZADD', KEYS[1], now, ARGV[4])
redis.call('PEXPIRE', KEYS[1], window)
return {1, tostring(most - redis.call('ZCARD', KEYS[1]))}
"""
ADD = "return redis.call('INCRBY', KEYS[1], ARGV[1])"
#: A tag in a slot of each third of the slots.
TAGS = ("{3}", "{1}", "{0}")


def address():
    if NODES:
        host, _, port = NODES[0].rpartition(":")
        return {"host": host, "port": int(port)}
    return {"host": OPTIONS.host, "port": OPTIONS.port}


def connect(protocol):
    kind = redis.RedisCluster if NODES else redis.Redis
    return kind(**address(), protocol=protocol, decode_responses=True, socket_timeout=20)


def connect_async(protocol):
    kind = redis.asyncio.RedisCluster if NODES else redis.asyncio.Redis
    return kind(**address(), protocol=protocol, decode_responses=True, socket_timeout=20)


def objects(checks, client, _protocol):
    client.script_flush()
    add = client.register_script(ADD)
    checks.equal("nothing is sent yet", client.script_exists(add.sha), [False])
    checks.equal("loaded when it is missing", [add([f"{tag}n"], [2]) for tag in TAGS], [2, 2, 2])
    checks.equal("then it is there", client.script_exists(add.sha), [True])
    client.script_flush()
    checks.raises("forgotten", NoScriptError, "No matching script", lambda: client.evalsha(add.sha, 1, "{3}n", 1))
    checks.equal("loaded again", [add([f"{tag}n"], [3]) for tag in TAGS], [5, 5, 5])
    checks.equal("EVAL of the same", client.eval(ADD, 1, "{1}n", 1), 6)
    checks.equal("SCRIPT LOAD gives its SHA-1", client.script_load(ADD), add.sha)
    client.script_flush()
    other = connect(2)
    checks.equal("through another client", add(["{0}n"], [1], client=other), 6)
    other.close()


def returns(checks, client, protocol):
    def run(text, *keys_and_args):
        return client.eval(text, 1, "{3}r", *keys_and_args)

    checks.equal("a table, until its first nil", run("return {1, '2', {3, false}, true, nil, 6}"), [1, "2", [3, None], 1])
    checks.equal("a number loses its fraction", run("return {3.99, -3.99, tonumber('1e3')}"), [3, -3, 1000])
    checks.equal("a status", run("return redis.status_reply('FINE')"), "FINE")
    checks.raises("an error", ResponseError, "MINE own words", lambda: run("return redis.error_reply('MINE own words')"))
    checks.raises("an error with its line", ResponseError, "user_script:2: here", lambda: run("\nerror('here')"))
    checks.raises("WRONGTYPE of a call", ResponseError, "WRONGTYPE Operation against a key",
                  lambda: run("redis.call('SET', KEYS[1], 'x'); return redis.call('LPUSH', KEYS[1], 'x')"))
    checks.equal("what ran before it stays", client.get("{3}r"), "x")
    caught = "local caught = redis.pcall('LPUSH', KEYS[1], 'x'); return caught['err']:sub(1, 9)"
    checks.equal("and pcall goes on", run(caught), "WRONGTYPE")
    three = "redis.setresp(3); return {double = 0.5}"
    checks.equal("a double", run(three), 0.5 if protocol == 3 else "0.5")
    checks.equal("a map", run("return {map = {a = 1}}"), {"a": 1} if protocol == 3 else ["a", 1])
    checks.equal("cjson and cmsgpack", run("return cmsgpack.unpack(cmsgpack.pack(cjson.decode(ARGV[1])))[2]", '[1,"two"]'), "two")
    checks.raises("text that does not compile", ResponseError, "Error compiling script", lambda: run("return ("))
    checks.raises("no globals", ResponseError, "Script attempted to access nonexistent global variable 'x'", lambda: run("return x"))


def patterns(checks, client, _protocol):
    """What scripts are used for: a lock given back with its token, a limit over a window."""
    release, admit = client.register_script(RELEASE), client.register_script(ADMIT)
    client.set("lock", "mine", nx=True, px=60_000)
    checks.equal("another's token", (release(["lock"], ["another's"]), client.get("lock")), (0, "mine"))
    checks.equal("its own", (release(["lock"], ["mine"]), client.get("lock")), (1, None))
    admitted = [admit(["window"], [1000 + at, 100, 3, f"call {at}"]) for at in range(5)]
    checks.equal("three in a window", admitted, [[1, "2"], [1, "1"], [1, "0"], [0, "1000"], [0, "1000"]])
    checks.equal("the next window", admit(["window"], [1101, 100, 3, "late"]), [1, "1"])


def pipelines(checks, client, _protocol):
    client.script_flush()
    add = client.register_script(ADD)
    if NODES:
        # Blocking pipelines over nodes refuse EVALSHA by themselves, and have no eval().
        checks.raises("no EVALSHA", RedisClusterException, "evalsha is blocked",
                      lambda: add(["{3}p"], [1], client=client.pipeline()))
        pipe = client.pipeline()
        for at, tag in enumerate(TAGS):
            pipe.execute_command("EVAL", ADD, 1, f"{tag}p", at)
        checks.equal("EVAL on all of them", pipe.execute(), [0, 1, 2])
        with client.pipeline(transaction=True) as pipe:
            pipe.set("{3}t", 5)
            pipe.execute_command("EVAL", ADD, 1, "{3}t", 2)
            checks.equal("in a transaction, replies as they come", pipe.execute(), ["OK", 7])
        return
    for transaction in (False, True):
        client.script_flush()
        pipe = client.pipeline(transaction=transaction)
        pipe.set("{3}t", 5)
        add(["{3}t"], [2], client=pipe)
        add(["{3}t"], [1], client=pipe)
        checks.equal(f"loads what is missing, transaction={transaction}", pipe.execute(), [True, 7, 8])
    with client.pipeline() as pipe:
        pipe.watch("{3}t")
        add(["{3}t"], [1])
        pipe.multi()
        add(["{3}t"], [1], client=pipe)
        checks.raises("a script's write is seen by WATCH", WatchError, "Watched variable changed", pipe.execute)
    checks.equal("the script in EXEC did not run", client.get("{3}t"), "9")


async def objects_async(checks, client, _protocol):
    await client.script_flush()
    add = client.register_script(ADD)
    checks.equal("loaded when it is missing", [await add([f"{tag}a"], [1]) for tag in TAGS], [1, 1, 1])
    await client.script_flush()
    many = await asyncio.gather(*(add([f"{TAGS[at % 3]}a"], [1]) for at in range(60)))
    checks.equal("from 60 tasks at once", sorted(many), sorted([*range(2, 22)] * 3))
    if not NODES:
        await client.script_flush()
        pipe = client.pipeline()
        await add(["{3}a"], [1], client=pipe)
        checks.equal("loaded by a pipeline", await pipe.execute(), [22])


async def locks_async(checks, client, protocol):
    """Tasks with clients of their own, which would lose counts if two were in at once."""
    await client.set("count", 0)
    inside, met = [], []

    async def work():
        mine = connect_async(protocol)
        for _ in range(TURNS):
            async with mine.lock("async-lock", timeout=60, sleep=0.002):
                inside.append(1)
                met.append(len(inside))
                await mine.set("count", int(await mine.get("count")) + 1)
                inside.pop()
        await mine.aclose()

    await asyncio.gather(*(work() for _ in range(TASKS)))
    checks.equal("one at a time", (max(met), await client.get("count")), (1, str(TASKS * TURNS)))
    one, other = client.lock("async-lock", timeout=60), client.lock("async-lock", timeout=60, blocking=False)
    checks.equal("held", (await one.acquire(), await other.acquire()), (True, False))
    checks.equal("extended", (await one.extend(60), 60 < await client.ttl("async-lock") <= 120), (True, True))
    checks.equal("started anew", (await one.reacquire(), await client.ttl("async-lock") <= 60), (True, True))
    await checks.raises_async("not held, not released", LockError, "Cannot release", other.release())
    await client.set("async-lock", "another's")
    await checks.raises_async("lost: not extended", LockNotOwnedError, "no longer owned", one.extend(1))
    await checks.raises_async("lost: not released", LockNotOwnedError, "no longer owned", one.release())
    checks.equal("and left alone", await client.getdel("async-lock"), "another's")


async def run_async(checks, protocol):
    client = connect_async(protocol)
    for part in (objects_async, locks_async):
        checks.part = f"asyncio RESP{protocol} {part.__name__}"
        try:
            await asyncio.wait_for(part(checks, client, protocol), 120)
        except Exception as error:
            checks.hold("ended early", False, repr(error))
    await client.aclose()


def main():
    checks = Checks("redis-py-cluster-scripts" if NODES else "redis-py-scripts")
    for protocol in (2, 3):
        client = connect(protocol)
        client.flushall()
        for part in (objects, returns, patterns, pipelines):
            checks.part = f"RESP{protocol} {part.__name__}"
            try:
                part(checks, client, protocol)
            except Exception as error:
                checks.hold("ended early", False, repr(error))
        client.close()
        asyncio.run(run_async(checks, protocol))
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
