"""CPU per operation of the server process, ours beside Redis or another build.

Why CPU and not operations per second: on a small machine the load tool is
often the slower side, and a rate would measure that. Why in pairs: a rented
machine changes its speed from minute to minute, so each round runs one server
directly after the other and only the two numbers of a round are divided.
"""

import random
import statistics
import time
from dataclasses import dataclass, field

from . import bits, load
from .load import CONNECTIONS, SERVER_CORE
from .scripts import LIMITER, RELEASE, evalsha
from .servers import Server, Starter, note, stop
from .table import Row, ratio
from .units import OTHER, RANDOM

KEYS = 1_000_000
# Half as many tags as keys: each transaction touches two keys under one tag.
TAGS = KEYS // 2
# Lists, and the members of the one large set and sorted set.
LISTS = 10_000
MEMBERS = 100_000
# Entries of the one large stream: as many as all rounds read.
JOBS = 1_000_000
# Adds entries with ascending ids, and a group if there is none.
FILL_STREAM = """
local length = redis.call("XLEN", KEYS[1])
for n = length + 1, length + ARGV[1] do redis.call("XADD", KEYS[1], n .. "-1", "name", "value" .. n) end
if length == 0 then redis.call("XGROUP", "CREATE", KEYS[1], ARGV[2], "0") end
return 1
"""
SUBSCRIBERS = 1000
ON_CORE = ("taskset", "-c", str(SERVER_CORE))


@dataclass
class Workload:
    """One row of the table. `load(operations)` prepares the load and returns a function that
    plays it on a server and returns the operations (for a transaction: transactions) that the
    CPU is divided by."""

    name: str
    operations: int
    must: float | None
    load: object


@dataclass
class Group:
    """Workloads that share one pair of servers and the data in them."""

    name: str
    data: str
    fill: list
    units: int
    keys: int
    workloads: list = field(default_factory=list)
    sample: object = None


def lone(command, pipeline, value_bytes=3):
    return lambda operations: load.benchmark(command, pipeline, operations, KEYS, value_bytes)


def units(words, pipeline, keyspace):
    return lambda count: load.units(words, pipeline, count, keyspace)


def several(words, pipeline, keyspace):
    """Commands that come in turn: the CPU is divided by commands, of which so many are in flight."""

    def prepare(count):
        play = load.units(words, pipeline // len(words), count // len(words), keyspace)
        return lambda server: play(server) * len(words)

    return prepare


def fanout(pipeline):
    return lambda count: load.fanout(SUBSCRIBERS, pipeline, max(count // SUBSCRIBERS, pipeline), 32)


def jobs(pipeline):
    """Each play goes on where the last one has ended."""
    read = 1

    def prepare(count):
        nonlocal read
        entries = count // 2
        play = load.jobs(pipeline // 2, entries, read)
        read += entries
        return play

    return prepare


def transaction(pipeline):
    words = [
        ["MULTI"],
        ["SET", f"{{tag:{RANDOM}}}:name", "xxx"],
        ["GET", f"{{tag:{RANDOM}}}:name"],
        ["INCR", f"{{tag:{RANDOM}}}:count"],
        ["EXEC"],
    ]
    return units(words, pipeline, TAGS)


def groups():
    key = f"key:{RANDOM}"
    small = Group("plain", f"{KEYS:,} keys of 3 bytes", [["SET", key, "xxx"]], KEYS, KEYS)
    small.sample = lambda number: ("GET", f"key:{number:012d}")
    for pipeline, operations, must in ((1, 100_000, 1.05), (16, 800_000, 2.1), (64, 1_600_000, 3.0)):
        for command in ("get", "set"):
            small.workloads.append(Workload(f"{command.upper()} P={pipeline}", operations, must, lone(command, pipeline)))

    multi = Group(
        "multi", f"{KEYS:,} keys under {TAGS:,} tags",
        [["SET", f"{{tag:{RANDOM}}}:name", "xxx"], ["SET", f"{{tag:{RANDOM}}}:count", "1000"]], TAGS, KEYS,
    )
    multi.sample = lambda number: ("GET", f"{{tag:{number % TAGS:012d}}}:count")
    multi.workloads += [
        Workload("MULTI+3+EXEC P=16", 200_000, 2.5, transaction(16)),
        Workload("MULTI+3+EXEC P=1", 60_000, None, transaction(1)),
    ]

    hashes = Group(
        "hash", f"{KEYS:,} hashes of 4 fields",
        [["HSET", f"hash:{RANDOM}", "f0", "v0", "f1", "v1", "f2", "v2", "f3", "v3"]], KEYS, KEYS,
    )
    hashes.sample = lambda number: ("HGET", f"hash:{number:012d}", "f2")
    hashes.workloads += [
        Workload("HGET P=16", 800_000, None, units([["HGET", f"hash:{RANDOM}", "f2"]], 16, KEYS)),
        Workload("HSET P=16", 800_000, None, units([["HSET", f"hash:{RANDOM}", "f2", "v9"]], 16, KEYS)),
    ]

    large = Group("large", f"{KEYS:,} keys of 1 KiB", [["SET", key, "x" * 1024]], KEYS, KEYS)
    large.sample = small.sample
    large.workloads += [
        Workload("GET 1 KiB P=16", 500_000, 2.0, lone("get", 16, 1024)),
        Workload("SET 1 KiB P=16", 500_000, 2.0, lone("set", 16, 1024)),
    ]
    wide = Group(
        "wide hash", f"{KEYS // 10:,} hashes of 10 fields",
        [["HSET", f"hash:{RANDOM}", *(word for n in range(10) for word in (f"field{n}", f"value{n}"))]],
        KEYS // 10, KEYS // 10,
    )
    wide.sample = lambda number: ("HGET", f"hash:{number % (KEYS // 10):012d}", "field7")
    wide.workloads.append(
        Workload("HGETALL of 10 P=16", 400_000, 2.0, units([["HGETALL", f"hash:{RANDOM}"]], 16, KEYS // 10))
    )

    # Numbers go round the lists, so that each gets its hundred elements.
    list_key = f"list:{RANDOM}"
    lists = Group(
        "list", f"{LISTS:,} lists of 100 elements",
        [["RPUSH", list_key, *(f"element{n}" for n in range(100))]], LISTS, LISTS,
    )
    lists.sample = lambda number: ("LINDEX", f"list:{number % LISTS:012d}", "42")
    lists.workloads += [
        Workload("LPUSH, RPOP P=16", 800_000, 2.0, several([["LPUSH", list_key, "element7"], ["RPOP", list_key]], 16, LISTS)),
        Workload("LPUSH, LPOP P=16", 800_000, 2.0, several([["LPUSH", list_key, "element7"], ["LPOP", list_key]], 16, LISTS)),
        Workload("LRANGE 10 P=16", 400_000, None, units([["LRANGE", list_key, "0", "9"]], 16, LISTS)),
    ]

    sets = Group("set", f"a set of {MEMBERS:,} members", [["SADD", "set", f"member:{RANDOM}"]], MEMBERS, 1)
    sets.sample = lambda number: ("SISMEMBER", "set", f"member:{number % MEMBERS:012d}")
    sets.workloads += [
        Workload("SISMEMBER P=16", 800_000, None, units([["SISMEMBER", "set", f"member:{RANDOM}"]], 16, MEMBERS)),
        Workload("SADD, SPOP P=16", 800_000, 2.0, several([["SADD", "set", f"member:{RANDOM}"], ["SPOP", "set"]], 16, 10 * MEMBERS)),
    ]

    board = Group("sorted set", f"a sorted set of {MEMBERS:,} members", [["ZADD", "board", RANDOM, f"member:{RANDOM}"]], MEMBERS, 1)
    board.sample = lambda number: ("ZSCORE", "board", f"member:{number % MEMBERS:012d}")
    board.workloads += [
        Workload("ZRANK P=16", 400_000, 2.0, units([["ZRANK", "board", f"member:{RANDOM}"]], 16, MEMBERS)),
        Workload("ZRANGE 10 P=16", 400_000, 2.0, units([["ZRANGE", "board", "50000", "50009"]], 16, MEMBERS)),
        Workload("ZRANGE BYSCORE 10 P=16", 400_000, None,
                 # At least ten members have the score that is asked for or a higher one.
                 units([["ZRANGE", "board", RANDOM, "+inf", "BYSCORE", "LIMIT", "0", "10"]], 16, MEMBERS - 10)),
        Workload("ZADD P=16", 400_000, 2.0, units([["ZADD", "board", OTHER, f"member:{RANDOM}"]], 16, MEMBERS)),
    ]

    scripts = Group("scripts", f"{MEMBERS:,} locks", [["SET", key, "xxx"], ["EVAL", RELEASE, "1", key, "yyy"]], MEMBERS, MEMBERS)
    scripts.sample = lambda number: ("GET", f"key:{number % MEMBERS:012d}")
    scripts.workloads.append(
        Workload("EVALSHA release P=16", 400_000, 2.0, units([evalsha(RELEASE, [key], ["yyy"])], 16, MEMBERS))
    )
    window = [f"window:{RANDOM}"]
    limiters = Group("limiters", f"{LISTS:,} windows", [["EVAL", LIMITER, "1", *window, "1000", "60", "10"]], LISTS, LISTS)
    limiters.sample = lambda number: ("ZCARD", f"window:{number % LISTS:012d}")
    limiters.workloads.append(
        Workload("EVALSHA limiter P=16", 200_000, 2.0, units([evalsha(LIMITER, window, ["1001", "60", "10"])], 16, LISTS))
    )

    stream = f"stream:{RANDOM}"
    streams = Group(
        "stream", f"{LISTS:,} streams of 100 entries, and one of {JOBS:,}",
        [["EVAL", FILL_STREAM, "1", stream, "100", "g"], ["EVAL", FILL_STREAM, "1", "jobs", str(JOBS // LISTS), "g"]],
        LISTS, LISTS + 1,
    )
    streams.sample = lambda number: ("XLEN", f"stream:{number % LISTS:012d}")
    streams.workloads += [
        Workload("XADD P=16", 400_000, 2.0, units([["XADD", stream, "*", "name", "value"]], 16, LISTS)),
        Workload("XRANGE 10 P=16", 200_000, 2.0, units([["XRANGE", stream, "-", "+", "COUNT", "10"]], 16, LISTS)),
        Workload("XREADGROUP, XACK P=16", 200_000, 2.0, jobs(16)),
    ]

    news = Group("pub/sub", "nothing", [], 0, 0)
    news.workloads += [
        Workload("PUBLISH to 1,000 P=16, each", 1_600_000, 2.0, fanout(16)),
        Workload("PUBLISH to 1,000 P=1, each", 400_000, None, fanout(1)),
    ]
    others = [streams, *bits.groups(Group, Workload, units), scripts, limiters, news]
    return [small, multi, hashes, large, wide, lists, sets, board, *others]


def same_data(group, pair):
    """Refuses to compare two servers that do not hold the same."""
    if group.sample is None:
        return
    numbers = random.Random(1).sample(range(KEYS), 1000)
    seen = []
    for server in pair:
        with server.client() as client:
            seen.append((client.call("DBSIZE"), client.pipeline([group.sample(number) for number in numbers])))
    if seen[0] != seen[1] or seen[0][0] != group.keys or None in seen[0][1]:
        stop(f"the servers differ: {seen[0][0]} and {seen[1][0]} keys, {group.keys} expected")


@dataclass
class Round:
    cpu_ns: float  # per operation
    busy: float  # share of the time in which the server ran
    waited: float  # share of the time in which it wanted to run, and others did


def measure(server, play):
    (ran, waited), wall = server.schedule_ns(), time.monotonic_ns()
    done = play(server)
    wall = time.monotonic_ns() - wall
    (ran_after, waited_after) = server.schedule_ns()
    return Round((ran_after - ran) / done, (ran_after - ran) / wall, (waited_after - waited) / wall)


def compare(pair, workload, rounds, scale):
    """A warm-up of each, then rounds of ours and the other server in turn."""
    operations = max(int(workload.operations * scale), CONNECTIONS * 64)
    warm_up = workload.load(operations // 4)
    for server in pair:
        measure(server, warm_up)
    ours, theirs = [], []
    for _ in range(rounds):
        play = workload.load(operations)
        ours.append(measure(pair[0], play))
        theirs.append(measure(pair[1], play))
    beside = pair[1].kind
    ratios = [ratio(beside, mine.cpu_ns, other.cpu_ns) for mine, other in zip(ours, theirs)]

    def middle(rounds_of_one, what):
        return statistics.median(getattr(one, what) for one in rounds_of_one)

    return Row(
        name=workload.name,
        unit="ns",
        beside=beside,
        ours=middle(ours, "cpu_ns"),
        theirs=middle(theirs, "cpu_ns"),
        ratio=statistics.median(ratios),
        low=min(ratios),
        high=max(ratios),
        must=workload.must,
        busy=(middle(ours, "busy"), middle(theirs, "busy")),
        waited=max(middle(ours, "waited"), middle(theirs, "waited")),
    )


def rows(starter: Starter, wanted, rounds, scale, groups=groups):
    """Yields a row per wanted workload."""
    for group in groups():
        workloads = [workload for workload in group.workloads if wanted(workload.name)]
        if not workloads:
            continue
        note(f"{group.name}: filling both servers with {group.data}")
        with starter.start("ours", prefix=ON_CORE) as ours, starter.start(starter.other, prefix=ON_CORE) as other:
            pair: list[Server] = [ours, other]
            for server in pair:
                if group.fill:
                    load.fill(server, group.fill, group.units)
            same_data(group, pair)
            for workload in workloads:
                note(f"{group.name}: {workload.name}, {rounds} rounds each")
                yield compare(pair, workload, rounds, scale)
