"""redis-py under asyncio, over RESP2 and RESP3: many tasks on one event loop,
each with its own connection, and cancellation in the middle of a transaction.
"""

import asyncio
import sys

import redis.asyncio as redis
from redis.exceptions import ClusterCrossSlotError, ResponseError, WatchError

from checks import Checks, options

OPTIONS = options()
WORKERS, COMMITS = 12, 20


def connect(protocol):
    return redis.Redis(
        host=OPTIONS.host, port=OPTIONS.port, protocol=protocol, decode_responses=True, socket_timeout=20
    )


async def basics(checks, client, _protocol):
    checks.equal("SET", await client.set("a:a", "1"), True)
    checks.equal("GET", await client.get("a:a"), "1")
    checks.equal("HSET", await client.hset("a:h", mapping={"f": "1", "g": "2"}), 2)
    checks.equal("HGETALL", await client.hgetall("a:h"), {"f": "1", "g": "2"})
    checks.equal("EXPIRE", await client.expire("a:a", 100), True)
    checks.hold("TTL", 95 <= await client.ttl("a:a") <= 100)
    await checks.raises_async("WRONGTYPE", ResponseError, "WRONGTYPE", client.incr("a:h"))
    await checks.raises_async("CROSSSLOT", ClusterCrossSlotError, "don't hash", client.mset({"foo": "1", "bar": "2"}))


async def many_tasks(checks, client, _protocol):
    answers = await asyncio.gather(*(client.incr("a:shared") for _ in range(80)))
    checks.equal("80 tasks at once each get their own number", sorted(answers), list(range(1, 81)))
    pipe = client.pipeline(transaction=False)
    for number in range(1000):
        pipe.set(f"a:p:{number}", number)
        pipe.get(f"a:p:{number}")
    answers = await pipe.execute()
    checks.equal("a pipeline over all slots, in order", answers[1::2], [str(number) for number in range(1000)])
    found = {key async for key in client.scan_iter("a:p:*", count=64)}
    checks.equal("scan_iter", found, {f"a:p:{number}" for number in range(1000)})


async def transactions(checks, client, protocol):
    async with client.pipeline() as pipe:
        checks.equal("MULTI", await pipe.set("{a}t", "1").incr("{a}t").execute(), [True, 2])
    async with client.pipeline() as pipe:
        await pipe.watch("{a}t")
        await client.incr("{a}t")
        pipe.multi()
        pipe.set("{a}t", "lost")
        await checks.raises_async("a touched key", WatchError, "Watched variable changed", pipe.execute())
    checks.equal("nothing was written", await client.get("{a}t"), "3")
    async with client.pipeline() as pipe:
        pipe.set("foo", "1").set("bar", "2")
        await checks.raises_async("MULTI over two slots", ClusterCrossSlotError, "don't hash", pipe.execute())
    checks.equal("nothing of it is stored", (await client.get("foo"), await client.get("bar")), (None, None))

    await client.set("{a}count", 0)

    async def work():
        mine = connect(protocol)
        for _ in range(COMMITS):
            while True:
                async with mine.pipeline() as pipe:
                    try:
                        await pipe.watch("{a}count")
                        value = int(await pipe.get("{a}count"))
                        pipe.multi()
                        pipe.set("{a}count", value + 1)
                        await pipe.execute()
                        break
                    except WatchError:
                        continue
        await mine.aclose()

    await asyncio.gather(*(work() for _ in range(WORKERS)))
    checks.equal("the sum is the number of commits", await client.get("{a}count"), str(WORKERS * COMMITS))


async def leaving(checks, client, protocol):
    """A task is cancelled with a transaction open and a key watched."""
    mine = connect(protocol)
    watching = asyncio.Event()

    async def abandon():
        async with mine.pipeline() as pipe:
            await pipe.watch("{a}left")
            watching.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(abandon())
    await watching.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await client.set("{a}left", "other")
    async with mine.pipeline() as pipe:
        checks.equal("the abandoned WATCH guards nobody else", await pipe.set("{a}left", "mine").execute(), [True])
    await mine.aclose()


async def run(checks):
    for protocol in (2, 3):
        client = connect(protocol)
        await client.flushall()
        for part in (basics, many_tasks, transactions, leaving):
            checks.part = f"asyncio RESP{protocol} {part.__name__}"
            try:
                await asyncio.wait_for(part(checks, client, protocol), 120)
            except Exception as error:
                checks.hold("ended early", False, repr(error))
        await client.aclose()


def main():
    checks = Checks("redis-py-asyncio")
    asyncio.run(run(checks))
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
