"""redis-py's RedisCluster under asyncio, over RESP2 and RESP3, against node ports:
many tasks on one client, and that they count right while slots move and a replica
takes over. What needs no concurrency is checked with the blocking client.
"""

import asyncio
import sys

from redis.asyncio.cluster import RedisCluster
from redis.backoff import NoBackoff
from redis.asyncio.retry import Retry
from redis.cluster import LoadBalancingStrategy
from redis.exceptions import (
    ClusterCrossSlotError, ClusterError, CrossSlotTransactionError, ResponseError, TryAgainError, WatchError,
)

from checks import Checks

from .nodes import HOST, NODES, PORT, TAGS, Ledger, address, first_slots, topology_async as topology

# How long anything may take that is due at once.
PATIENCE_S = 20


def connect(protocol, **more):
    return RedisCluster(HOST, PORT, protocol=protocol, decode_responses=True, socket_timeout=20, **more)


async def until(ask):
    """Asks again until the answer is true or PATIENCE_S is over; the last answer."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + PATIENCE_S
    while not (answer := await ask()) and loop.time() < deadline:
        await asyncio.sleep(0)
    return answer


async def discovery(checks, client, _protocol):
    await client.initialize()
    masters, replicas = (await topology("masters")).split(), (await topology("replicas")).split()
    checks.equal("primaries", sorted(map(address, client.get_primaries())), sorted(masters))
    checks.equal("replicas", sorted(map(address, client.get_replicas())), sorted(replicas))
    checks.equal("CLUSTER NODES", sorted(await client.cluster_nodes()), sorted(NODES))


async def many_tasks(checks, client, _protocol):
    answers = await asyncio.gather(*(client.incr("a:shared") for _ in range(80)))
    checks.equal("80 tasks at once each get their own number", sorted(answers), list(range(1, 81)))
    keys = [f"all:{{{TAGS[slot]}}}" for slot in range(16384)]
    pipe = client.pipeline()
    for slot, key in enumerate(keys):
        pipe.incrby(key, slot).get(key)
    answers = await pipe.execute()
    checks.equal("each slot, in order", answers, [one for slot in range(16384) for one in (slot, str(slot))])
    checks.equal("scan_iter meets every key", {key async for key in client.scan_iter("all:*", count=1000)}, set(keys))
    pipe = client.pipeline()
    pipe.incr("p:a").hget("p:a", "f").incr("p:b")
    first, second, third = await pipe.execute(raise_on_error=False)
    checks.equal("around an error", (first, third), (1, 1))
    checks.error("the error in its place", second, ResponseError, "WRONGTYPE")
    owner = client.get_node_from_key("foo")
    await checks.raises_async("CROSSSLOT", ClusterCrossSlotError, "don't hash to the same slot",
                              client.execute_command("MSET", "foo", "1", "bar", "2", target_nodes=owner))


async def transactions(checks, client, _protocol):
    async with client.pipeline(transaction=True) as pipe:
        pipe.incr("{a}t").incr("{a}t")
        checks.equal("MULTI runs", await pipe.execute(), [1, 2])
    async with client.pipeline(transaction=True) as pipe:
        pipe.set("foo", "1").set("bar", "2")
        await checks.raises_async("over two slots, refused by the client", CrossSlotTransactionError, "same slot", pipe.execute())
    async with client.pipeline(transaction=True) as pipe:
        await pipe.watch("{a}t")
        await client.incr("{a}t")
        pipe.multi()
        pipe.set("{a}t", "lost")
        await checks.raises_async("a touched key", WatchError, "Watched variable changed", pipe.execute())
    checks.equal("and nothing was written", await client.get("{a}t"), "3")


async def sharded(checks, client, _protocol):
    channels = [f"s:{{{TAGS[slot]}}}" for slot in (1, 6000, 16000)]
    listener = client.pubsub()
    await listener.ssubscribe(*channels)

    async def subscribed():
        return all([await client.pubsub_shardnumsub(channel, target_nodes=client.get_node_from_key(channel)) == [(channel, 1)]
                    for channel in channels])

    checks.hold("PUBSUB SHARDNUMSUB", await until(subscribed))
    for channel in channels:
        await client.spublish(channel, f"to {channel}")
    found = []

    async def receive():
        message = await listener.get_sharded_message(ignore_subscribe_messages=True, timeout=0.1)
        if message:
            found.append((message["channel"], message["data"]))
        return len(found) == len(channels)

    await until(receive)
    checks.equal("each arrives", sorted(found), sorted((channel, f"to {channel}") for channel in channels))
    await listener.aclose()


async def replicas(checks, client, protocol):
    reader = connect(protocol, load_balancing_strategy=LoadBalancingStrategy.ROUND_ROBIN_REPLICAS)
    keys = {f"r:{{{TAGS[slot]}}}": str(slot) for slot in range(7, 16384, 1000)}
    for key, value in keys.items():
        await client.set(key, value)

    async def arrived():
        return [await reader.get(key) for key in keys] == list(keys.values())

    checks.hold("replicas have the values", await until(arrived))
    await reader.aclose()


async def half_migrated(checks, _client, protocol):
    """A slot of which one part has moved: each key is found where it is. One command at
    a time and one connection a node: this client sends ASKING and the command that it
    is for in two steps, each on whatever connection is free."""
    client = connect(protocol)
    slot = 5474  # {user}
    source = await topology("owner", slot)
    target = next(node for node in (await topology("masters")).split() if node != source)
    await client.mset({"{user}gone": "1", "{user}here": "2", "{user}count": "10"})
    await topology("half", slot, target, "{user}gone", "{user}count")
    try:
        answers = [await client.get(key) for key in ["{user}gone", "{user}here"] * 20]
        checks.equal("each key where it is", answers, ["1", "2"] * 20)
        answers = [await client.incr("{user}count") for _ in range(20)]
        checks.equal("increments of what is gone", answers, list(range(11, 31)))
        # The client itself gives up on TRYAGAIN after a while.
        both = asyncio.create_task(until(lambda: unless_tryagain(client.mget("{user}gone", "{user}here"))))
    finally:
        await topology("finish", slot, target)
    checks.equal("MGET came through TRYAGAIN", await both, ["1", "2"])
    checks.equal("all together again", await client.mget("{user}gone", "{user}here", "{user}count"), ["1", "2", "30"])
    await client.aclose()


async def unless_tryagain(awaitable):
    try:
        return await awaitable
    except (ClusterError, TryAgainError):
        return None


async def counting(checks, protocol, slots, change):
    """Tasks count in these slots, with INCR and with WATCH, while `change` goes on."""
    name = f"{change.__name__}{protocol}"
    keys = [f"{name}:incr:{{{TAGS[slot]}}}" for slot in slots]
    guarded = [f"{name}:watch:{{{TAGS[slot]}}}" for slot in slots]
    ledger = Ledger(keys + guarded)
    over = asyncio.Event()

    async def add(client, key):
        return await client.incr(key)

    async def work(keys, step):
        # Never sends again what may have been done: that increment would be its own.
        mine = connect(protocol, retry=Retry(NoBackoff(), 0))
        while not over.is_set():
            for key in keys:
                try:
                    ledger.answered(key, await step(mine, key))
                except Exception as error:  # told apart, and shown, by the ledger
                    ledger.broken(key, error)
        await mine.aclose()

    tasks = [asyncio.create_task(work(*given)) for given in (
        (keys, add), (keys[::-1], add), (guarded, commit), (guarded[::-1], commit),
    )]

    async def all_counted():
        return all(ledger.answers.values())

    async def goes_on():
        return ledger.total() > after + 200

    try:
        await until(all_counted)
        before = ledger.total()
        await change()
        checks.hold("counted meanwhile", ledger.total() > before)
        after = ledger.total()
        checks.hold("and goes on", await until(goes_on))
    finally:
        over.set()
        await asyncio.wait(tasks, timeout=PATIENCE_S)
    client = connect(protocol)
    ledger.check(checks, {key: int(await client.get(key) or 0) for key in ledger.answers})
    await client.aclose()
    return ledger


async def commit(client, key):
    """Adds one by WATCH, GET, MULTI, SET and EXEC."""
    async with client.pipeline(transaction=True) as pipe:
        await pipe.watch(key)
        value = int(await pipe.get(key) or 0) + 1
        pipe.multi()
        pipe.set(key, value)
        await pipe.execute()
        return value


async def reshard(checks, client, protocol):
    source, target = (await topology("masters")).split()[:2]
    moving = await asyncio.to_thread(first_slots, source, 120)
    pipe = client.pipeline()
    for slot in moving:
        for number in range(8):
            pipe.set(f"fill:{{{TAGS[slot]}}}{number}", slot)
    await pipe.execute()

    async def slots_move():
        await topology("reshard", source, target, len(moving))

    ledger = await counting(checks, protocol, moving[::30] + [16000], slots_move)
    checks.equal("no connection broke", sum(ledger.unknown.values()), 0)
    # One command at a time: what follows MOVED closes the connections of other tasks.
    kept = [await client.exists(*(f"fill:{{{TAGS[slot]}}}{number}" for number in range(8))) for slot in moving]
    checks.equal("no key was lost", sum(kept), 8 * 120)


async def failover(checks, client, protocol):
    master = await topology("owner", 0)
    replica = await topology("replica", master)

    async def replica_takes_over():
        await topology("failover", replica)

    await counting(checks, protocol, [0, 100, 6000, 16000], replica_takes_over)
    checks.equal("the client goes there", (await client.set(TAGS[0], "x"), address(client.get_node_from_key(TAGS[0]))), (True, replica))
    await topology("failover", master)
    checks.equal("and back", await client.get(TAGS[0]), "x")


async def run(checks):
    for protocol in (2, 3):
        client = connect(protocol)
        await client.flushall()
        parts = [many_tasks, transactions, sharded, replicas, half_migrated, reshard, failover]
        for part in [discovery, *parts] if protocol == 2 else parts:
            checks.part = f"asyncio RESP{protocol} {part.__name__}"
            try:
                await asyncio.wait_for(part(checks, client, protocol), 90)
            except Exception as error:
                checks.hold("ended early", False, repr(error))
        await client.aclose()


def main():
    checks = Checks("redis-py-cluster-asyncio")
    asyncio.run(run(checks))
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
