#!/usr/bin/env bash
# A transaction of redis-py's RedisCluster returns raw replies, a pipeline does not
#
# Versions: redis-py 8.1.0 (PyPI), redis-server 7.0.15: a cluster of three masters
# One would expect: pipeline(transaction=True) of RedisCluster returns what its pipeline and the
#   transaction of Redis do: True for SET and for EXPIRE that took effect.
# Seen: It returns the replies as they came: b'OK' and 1. Code that moves from Redis to RedisCluster, or
#   from a pipeline to a transaction, finds other types; `reply is True` is then false.
# Source: The page on clustering says that transactions are used as in Redis. redis/cluster.py,
#   TransactionStrategy: it has to run the response callbacks itself, and knows those of the
#   cluster's own commands only.
# Topic: Cluster clients
# Matters to: docs/transactions.md.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
servers redis7

scenes() {
    pip_packages redis==8.1.0
    cluster redis7
    start redis7
    script "${nodes[0]}" "$port" <<'PY'
import sys, redis
clients = ("Redis", redis.Redis(port=int(sys.argv[2]))), ("RedisCluster", redis.RedisCluster(port=int(sys.argv[1]), host="127.0.0.1"))
for name, client in clients:
    client.hset("{cart}h", "apple", 1)
    client.zadd("{cart}z", {"apple": 1.5})
    for transaction in False, True:
        pipe = client.pipeline(transaction=transaction)
        pipe.set("{cart}s", 1)
        pipe.exists("{cart}s")
        pipe.expire("{cart}s", 9)
        pipe.zscore("{cart}z", "apple")
        print(f"{name}, {'transaction' if transaction else 'pipeline'}:", pipe.execute())
PY
}

finding scenes <<'SEEN'
Redis, pipeline: [True, 1, True, 1.5]
Redis, transaction: [True, 1, True, 1.5]
RedisCluster, pipeline: [True, 1, True, 1.5]
RedisCluster, transaction: [b'OK', 1, 1, 1.5]
SEEN
