"""redis-py's RedisCluster behind forwarded ports, blocking or asyncio (the argument), over RESP2 and RESP3:
keys of several slots, from masters and replicas, and a pipeline.
"""

import asyncio
import os
import sys

from redis.asyncio.cluster import RedisCluster as AsyncCluster
from redis.cluster import LoadBalancingStrategy, RedisCluster

from checks import Checks

HOST, PORT = os.environ["SLOTWAY_HOST"], int(os.environ["SLOTWAY_PORT"])
PORTS = sorted(map(int, os.environ["SLOTWAY_PORTS"].split()))
# Slots 5061, 866, 7365, 8157, 12182 and 15495: two of each master.
KEYS = ["bar", "hello", "c", "z", "foo", "a"]


def settings(protocol):
    return {"host": HOST, "port": PORT, "protocol": protocol, "decode_responses": True, "socket_timeout": 20}


def sync(checks, protocol):
    client = RedisCluster(**settings(protocol))
    checks.equal("SET", [client.set(key, key.upper()) for key in KEYS], [True] * len(KEYS))
    checks.equal("GET", [client.get(key) for key in KEYS], [key.upper() for key in KEYS])
    pipe = client.pipeline()
    for key in KEYS:
        pipe.incr(f"{{{key}}}n")
    checks.equal("a pipeline", pipe.execute(), [1] * len(KEYS))
    checks.equal("the ports", sorted(node.port for node in client.get_nodes()), PORTS)
    reader = RedisCluster(**settings(protocol), load_balancing_strategy=LoadBalancingStrategy.ROUND_ROBIN)
    checks.equal("GET of replicas", [reader.get(key) for key in KEYS * 2], [key.upper() for key in KEYS * 2])
    checks.equal("DBSIZE", client.dbsize(target_nodes=RedisCluster.PRIMARIES), 2 * len(KEYS))
    client.flushall()
    reader.close()
    client.close()


async def aio(checks, protocol):
    client = AsyncCluster(**settings(protocol))
    async with client:
        checks.equal("SET", [await client.set(key, key.upper()) for key in KEYS], [True] * len(KEYS))
        checks.equal("GET", await asyncio.gather(*map(client.get, KEYS)), [key.upper() for key in KEYS])
        pipe = client.pipeline()
        for key in KEYS:
            pipe.incr(f"{{{key}}}n")
        checks.equal("a pipeline", await pipe.execute(), [1] * len(KEYS))
        checks.equal("the ports", sorted(node.port for node in client.get_nodes()), PORTS)
    reader = AsyncCluster(**settings(protocol), load_balancing_strategy=LoadBalancingStrategy.ROUND_ROBIN)
    async with reader:
        checks.equal("GET of replicas", [await reader.get(key) for key in KEYS * 2], [key.upper() for key in KEYS * 2])
        checks.equal("DBSIZE", await reader.dbsize(target_nodes=AsyncCluster.PRIMARIES), 2 * len(KEYS))
        await reader.flushall()


kind = sys.argv[1]
counted = Checks(f"redis-py {kind}, forwarded")
for number in (2, 3):
    counted.part = f"RESP{number}"
    if kind == "sync":
        sync(counted, number)
    else:
        asyncio.run(aio(counted, number))
sys.exit(counted.finish())
