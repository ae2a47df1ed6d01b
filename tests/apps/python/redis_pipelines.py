"""redis-py as its own documentation uses it: pipelines, WATCH, `transaction`, several
keys at once.

    redis_pipelines.py PORT as-written|hashtags
"""

import sys

import redis

PORT, VARIANT = int(sys.argv[1]), sys.argv[2]
TAGGED = VARIANT == "hashtags"
r = redis.Redis(port=PORT, decode_responses=True)


def key(group, name):
    """`user:7:name`, or `user:{7}:name`: what belongs together is tagged by its number."""
    kind, number, *rest = name.split(":")
    return ":".join([kind, f"{{{group}}}" if TAGGED else number, *rest])


# One after the other, buffered, without a transaction: no two keys need each other.
pipe = r.pipeline(transaction=False)
for number in range(20):
    pipe.set(f"page:{number}", number)
pipe.execute()

# The pipeline of the documentation is a transaction unless one says otherwise.
for number in range(10):
    pipe = r.pipeline()
    pipe.set(key(number, f"user:{number}:name"), "ann")
    pipe.incr(key(number, f"user:{number}:visits"))
    pipe.expire(key(number, f"user:{number}:visits"), 3600)
    pipe.execute()

# Optimistic locking, as written there: one key, watched, read, written.
sequence = "{sequence}" if TAGGED else "OUR-SEQUENCE-KEY"
for _ in range(3):
    with r.pipeline() as pipe:
        while True:
            try:
                pipe.watch(sequence)
                current = int(pipe.get(sequence) or 0)
                pipe.multi()
                pipe.set(sequence, current + 1)
                pipe.execute()
                break
            except redis.WatchError:
                continue

# The same by `transaction`, over two accounts.
for number in range(5):
    one, other = key(number, f"account:{number}"), key(number, f"account:{number}")
    if not TAGGED:
        other = f"account:{number + 100}"
    else:
        other = f"account:{{{number}}}:savings"

    def move(pipe):
        left = int(pipe.get(one) or 100)
        pipe.multi()
        pipe.set(one, left - 10)
        pipe.incrby(other, 10)

    r.transaction(move, one, other)

# Watched one after the other.
for number in range(5):
    stock, basket = key(number, f"stock:{number}"), key(number, f"basket:{number}")
    with r.pipeline() as pipe:
        pipe.watch(stock)
        pipe.watch(basket)
        pipe.get(stock)
        pipe.multi()
        pipe.decr(stock)
        pipe.execute()

# A lock of its own kind: watched here, written there.
for number in range(12):
    lock, order = key(number, f"lease:{number}"), key(number, f"order:{number}")
    with r.pipeline() as pipe:
        pipe.watch(lock)
        pipe.get(lock)
        pipe.multi()
        pipe.hset(order, "state", "paid")
        pipe.execute()

# Somebody else is quicker: such a transaction leaves its EXEC alone behind.
with r.pipeline() as pipe:
    pipe.watch(sequence)
    r.incr(sequence)
    pipe.multi()
    pipe.set(sequence, 0)
    try:
        pipe.execute()
        raise SystemExit("the change was overlooked")
    except redis.WatchError:
        pass

# Several keys at once.
names = [key(n, f"user:{n}:name") for n in range(4)]
if TAGGED:
    for name in names:
        r.mget(name, name)
    r.mset({"{colours}:red": 1, "{colours}:blue": 2})
    r.sunionstore("{tags}:all", "{tags}:one", "{tags}:two")
    r.zadd("{board}:a", {"x": 1})
    r.zunionstore("{board}:sum", ["{board}:a", "{board}:b"])
    r.rename("{colours}:red", "{colours}:green")
    r.lmove("{list}:todo", "{list}:done")
    r.unlink("{colours}:green", "{colours}:blue")
    script = r.register_script("redis.call('set', KEYS[1], ARGV[1]); return redis.call('incr', KEYS[2])")
    script(keys=["{script}:a", "{script}:b"], args=[1])
else:
    r.mget(names)
    r.mset({"colour:red": 1, "colour:blue": 2})
    r.sunionstore("tags:all", "tags:one", "tags:two")
    r.zadd("board:a", {"x": 1})
    r.zunionstore("board:sum", ["board:a", "board:b"])
    r.rename("colour:red", "colour:green")
    r.lmove("list:todo", "list:done")
    r.unlink("colour:green", "colour:blue")
    script = r.register_script("redis.call('set', KEYS[1], ARGV[1]); return redis.call('incr', KEYS[2])")
    script(keys=["script:a", "script:b"], args=[1])
    # Keys that the script makes up: another node's, mostly.
    made_up = r.register_script("return redis.call('get', 'user:' .. ARGV[1] .. ':name')")
    for number in range(0, 60, 5):
        made_up(keys=["script:a"], args=[number])
    r.rpush("ids", 1, 2, 3)
    r.sort("ids", by="user:*:visits", get="user:*:name")
    redis.Redis(port=PORT, db=3).get("elsewhere")

# A queue that is waited for, the lock of the library, and a scan.
queues = ["{jobs}:high", "{jobs}:low"] if TAGGED else ["jobs:high", "jobs:low"]
r.rpush(queues[1], "job")
r.blpop(queues, timeout=1)
with r.lock("report", timeout=10):
    r.set("report:done", 1)
list(r.scan_iter("page:*"))
