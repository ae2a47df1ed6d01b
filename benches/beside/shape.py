"""What a server takes rather than what it does: memory per idle connection and
per key, the time from exec to the first answer, and how long one shard's work
keeps the other shards' clients waiting.
"""

import random
import resource
import socket
import statistics
import subprocess
import sys
import threading
import time

from . import load
from .probe import Probe
from .resp import Client, tag_on_shard
from .servers import Starter, note, stop
from .table import Row, ratio
from .units import RANDOM

IDLE_CONNECTIONS = 10_000
KEYS = 1_000_000
SHARDS = 4
BUSY_SECONDS = 2.0
LCS_BYTES = 9_000


def idle_connections(starter: Starter):
    """Resident memory that one connection costs once it has asked something and
    fallen silent, as a pool's connections do."""
    note(f"memory: {IDLE_CONNECTIONS:,} idle connections")
    raise_descriptor_limit(IDLE_CONNECTIONS + 1000)
    per_connection = {}
    for kind in starter.programs:
        with starter.start(kind) as server:
            with server.client() as client:
                client.call("CONFIG", "SET", "maxclients", IDLE_CONNECTIONS + 100)
            before = server.settled_rss_bytes()
            connections = []
            try:
                for _ in range(IDLE_CONNECTIONS):
                    connection = socket.create_connection(("127.0.0.1", server.port), timeout=20)
                    connections.append(connection)
                    connection.sendall(b"*1\r\n$4\r\nPING\r\n")
                    if connection.recv(64) != b"+PONG\r\n":
                        stop(f"{kind} refused connection {len(connections)}")
                after = server.settled_rss_bytes()
            finally:
                for connection in connections:
                    connection.close()
        per_connection[kind] = (after - before) / IDLE_CONNECTIONS / 1024
    return amount("memory per idle connection", "KiB", per_connection, must=1.5)


def keys(starter: Starter):
    note(f"memory: {KEYS:,} keys")
    per_key = {}
    for kind in starter.programs:
        with starter.start(kind) as server:
            before = server.settled_rss_bytes()
            load.fill(server, [["SET", f"key:{RANDOM}", "xxx"]], KEYS)
            per_key[kind] = (server.settled_rss_bytes() - before) / KEYS
            with server.client() as client:
                if client.call("DBSIZE") != KEYS:
                    stop(f"{kind} does not hold {KEYS} keys")
    return amount("memory per key of 16+3 bytes", "B", per_key, must=None)


# What is filled in, how often (the number is in each command), and the elements that makes.
COLLECTIONS = [
    ("element of one list", [["RPUSH", "list", f"element:{RANDOM}"]], KEYS, KEYS),
    ("element of lists of 10", [["RPUSH", f"list:{RANDOM}", *(f"element:{n}" for n in range(10))]], KEYS // 10, KEYS),
    ("member of one set", [["SADD", "set", f"member:{RANDOM}"]], KEYS, KEYS),
    ("member of sets of 10", [["SADD", f"set:{RANDOM}", *(f"member:{n}" for n in range(10))]], KEYS // 10, KEYS),
    ("member of sets of 10 integers", [["SADD", f"set:{RANDOM}", *map(str, range(1000, 1010))]], KEYS // 10, KEYS),
    ("member of one sorted set", [["ZADD", "board", RANDOM, f"member:{RANDOM}"]], KEYS, KEYS),
    ("member of sorted sets of 10",
     [["ZADD", f"board:{RANDOM}", *(word for n in range(10) for word in (str(n), f"member:{n}"))]], KEYS // 10, KEYS),
    ("field of one hash", [["HSET", "hash", f"field:{RANDOM}", f"value:{RANDOM}"]], KEYS, KEYS),
    ("field of hashes of 10",
     [["HSET", f"hash:{RANDOM}", *(word for n in range(10) for word in (f"field:{n}", f"value:{n}"))]], KEYS // 10, KEYS),
    ("HyperLogLog of 10", [["PFADD", f"hll:{RANDOM}", *(f"{RANDOM}:{n}" for n in range(10))]], KEYS // 10, KEYS // 10),
    ("HyperLogLog of 300",
     [["PFADD", f"hll:{RANDOM}", *(f"{RANDOM}:{n}" for n in range(first, first + 10))] for first in range(0, 300, 10)],
     KEYS // 50, KEYS // 50),
    ("dense HyperLogLog", [["PFADD", f"hll:{RANDOM}", "x"], ["PFDEBUG", "TODENSE", f"hll:{RANDOM}"]], KEYS // 50, KEYS // 50),
]


def elements(starter: Starter, what, commands, units, count):
    """Resident memory per element of a collection. The *must* is Redis' own."""
    note(f"memory: per {what}")
    per_element = {}
    for kind in starter.programs:
        with starter.start(kind) as server:
            before = server.settled_rss_bytes()
            load.fill(server, commands, units)
            per_element[kind] = (server.settled_rss_bytes() - before) / count
    return amount(f"memory per {what}", "B", per_element, must=round(per_element[starter.other], 1))


def start_up(starter: Starter, runs):
    """From exec to the first PONG, the prober trying again at once all the while."""
    note(f"start-up: {runs} runs each")
    taken = {kind: [] for kind in starter.programs}
    for _ in range(runs):
        for kind, times in taken.items():
            with starter.start(kind, shards=16, threads=None) as server:
                times.append((server.answered_ns - server.started_ns) / 1e6)
    return amount("start-up, 16 shards", "ms", {kind: statistics.median(times) for kind, times in taken.items()},
                  must=20, spread=(min(taken["ours"]), max(taken["ours"])))


def other_shards(starter: Starter, busy_shards, runs):
    """The worst latency of GETs on the other shards while some shards each work
    through a transaction of about two seconds. Redis has one thread, so there
    the probe waits for the whole transaction."""
    note(f"latency: {busy_shards} of {SHARDS} shards busy for {BUSY_SECONDS:.0f} s, {runs} runs each")
    tags = [tag_on_shard(shard, SHARDS) for shard in range(SHARDS)]
    busy, quiet = tags[:busy_shards], tags[busy_shards:]
    worst = {}
    for kind in starter.programs:
        # Default threads and no pinning: this is about sharing the machine.
        with starter.start(kind, shards=SHARDS, threads=None) as server:
            commands = fill_and_calibrate(server, busy)
            worst[kind] = [one_stall(server, busy, quiet, commands) for _ in range(runs)]
    name = f"other shards' worst wait, {busy_shards} busy"
    return amount(name, "ms", {kind: statistics.median(times) for kind, times in worst.items()}, must=25,
                  spread=(min(worst["ours"]), max(worst["ours"])))


def machine_alone(starter: Starter, runs):
    """The same probe while two unrelated processes spin and no shard is busy:
    what the kernel's scheduler alone does to a client of an idle server here."""
    note(f"latency: two unrelated spinning processes, {runs} runs each")
    quiet = [tag_on_shard(shard, SHARDS) for shard in range(2, SHARDS)]
    worst = {}
    for kind in starter.programs:
        with starter.start(kind, shards=SHARDS, threads=None) as server:
            worst[kind] = []
            for _ in range(runs):
                spinners = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
                with Probe(server.port, quiet) as probe:
                    time.sleep(BUSY_SECONDS)
                    worst[kind].append(probe.worst_ms())
                for spinner in spinners:
                    spinner.kill()
                    spinner.wait()
    name = "  the machine's own: 2 spinning strangers"
    return amount(name, "ms", {kind: statistics.median(times) for kind, times in worst.items()}, must=None,
                  spread=(min(worst["ours"]), max(worst["ours"])))


def fill_and_calibrate(server, busy):
    """Gives each busy tag two long strings, and finds how many LCS commands (the
    longest common subsequence: real work over 80 million cells each) take two
    seconds of this server's CPU."""
    letters = random.Random(7)
    with server.client() as client:
        for tag in busy:
            for name in "ab":
                client.call("SET", f"{{{tag}}}{name}", "".join(letters.choices("ab", k=LCS_BYTES)))
        lcs = ("LCS", f"{{{busy[0]}}}a", f"{{{busy[0]}}}b", "LEN")
        client.call(*lcs)
        before = server.cpu_ns()
        for _ in range(3):
            client.call(*lcs)
        one = (server.cpu_ns() - before) / 3
    return max(2, round(BUSY_SECONDS * 1e9 / one))


def one_stall(server, busy, quiet, commands):
    """Worst wait in milliseconds. The probe runs from before the transactions
    are sent until after they are answered."""
    clients = [Client(server.port) for _ in busy]
    results = [None] * len(busy)

    def occupy(index):
        tag = busy[index]
        lcs = ("LCS", f"{{{tag}}}a", f"{{{tag}}}b", "LEN")
        results[index] = clients[index].pipeline([("MULTI",), *[lcs] * commands, ("EXEC",)])[-1]

    threads = [threading.Thread(target=occupy, args=(index,)) for index in range(len(busy))]
    with Probe(server.port, quiet) as probe:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        worst = probe.worst_ms()
    for client, result in zip(clients, results):
        client.close()
        if result is None or len(result) != commands:
            stop(f"the busy transaction did not run: {result}")
    return worst


def amount(name, unit, taken, must, spread=None):
    beside = next(kind for kind in taken if kind != "ours")
    ours, theirs = taken["ours"], taken[beside]
    low, high = spread or (ours, ours)
    return Row(name, unit, beside, ours, theirs, ratio(beside, ours, theirs), low, high, must, amount=True)


def raise_descriptor_limit(wanted):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= wanted:
        return
    if hard != resource.RLIM_INFINITY and hard < wanted:
        stop(f"{wanted} open files needed, the limit is {hard}; try: ulimit -n {wanted}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def rows(starter: Starter, wanted, quick):
    """Yields a row per wanted question."""
    questions = [
        ("memory per idle connection", lambda: idle_connections(starter)),
        ("memory per key", lambda: keys(starter)),
        *((f"memory per {what}", lambda of=(what, *rest): elements(starter, *of)) for what, *rest in COLLECTIONS),
        ("start-up", lambda: start_up(starter, 5 if quick else 20)),
        ("other shards 1 busy", lambda: other_shards(starter, 1, 2 if quick else 5)),
        ("other shards 2 busy", lambda: other_shards(starter, 2, 2 if quick else 5)),
        ("other shards machine", lambda: machine_alone(starter, 2 if quick else 5)),
    ]
    for name, ask in questions:
        if wanted(name):
            yield ask()
