"""The load: redis-benchmark for GET and SET (everybody can repeat it), and what it
cannot send is played by `units` and `fanout`. All of it runs on LOAD_CORE, so that
the server's core belongs to the server.
"""

import contextlib
import os
import random
import shutil
import subprocess

from .fanout import Audience, publish
from .resp import encode
from .servers import stop
from .units import Connections, Unit

SERVER_CORE, LOAD_CORE = 0, 1
CONNECTIONS = 50
FILL_PIPELINE = 100
# More entries than all connections have asked for at a time.
ACKNOWLEDGED_AFTER = 5_000
# Each load draws further numbers: to repeat some would be another workload, as what they
# name is in the server by then.
CHANCE = random.Random(1)


def benchmark(command, pipeline, operations, keyspace, value_bytes=3):
    """One of redis-benchmark's own tests, as a function of a server that returns the operations."""
    if shutil.which("redis-benchmark") is None:
        stop("redis-benchmark is not there; get it with: apt-get install redis-tools")
    words = ["-h", "127.0.0.1", "-c", CONNECTIONS, "-q", "-n", operations, "-r", keyspace, "-P", pipeline,
             "-d", value_bytes, "-t", command]

    def play(server):
        whole = ["taskset", "-c", LOAD_CORE, "redis-benchmark", "-p", server.port, *words]
        done = subprocess.run([str(word) for word in whole], capture_output=True, text=True)
        if done.returncode != 0 or "requests per second" not in done.stdout:
            stop(f"{done.args}: status {done.returncode}\n{done.stdout}{done.stderr}")
        return operations

    return play


def units(commands, pipeline, count, keyspace):
    """So many units (see `units`), as a function of a server that returns their number. They are
    made here, so that making them takes no time from playing them."""
    batches = list(Unit(commands).batches(pipeline, count, keyspace, CHANCE.random))

    def play(server):
        with on_load_core(), Connections(server.port, CONNECTIONS) as connections:
            return connections.play(batches)

    return play


def jobs(pipeline, count, first):
    """Reading so many entries of the stream `jobs` for its group, each followed by the
    acknowledgement of one that was read a while before, as a function of a server that returns the
    number of commands. The entries have the ids 1-1, 2-1 …, the next one to be read is `first`."""

    def batches():
        for begin in range(first, first + count, pipeline):
            entries = range(begin, min(begin + pipeline, first + count))
            read = encode("XREADGROUP", "GROUP", "g", "c", "COUNT", "1", "STREAMS", "jobs", ">")
            text = b"".join(read + encode("XACK", "jobs", "g", f"{max(n - ACKNOWLEDGED_AFTER, 0)}-1") for n in entries)
            yield text, len(entries)

    made = list(batches())

    def play(server):
        with on_load_core(), Connections(server.port, CONNECTIONS) as connections:
            return 2 * connections.play(made)

    return play


def fanout(subscribers, pipeline, messages, message_bytes):
    """Publishing to so many subscribers, as a function of a server that returns the messages they
    got, all together."""

    def play(server):
        with on_load_core(), Audience(server.port, subscribers) as audience:
            return publish(server.port, audience, pipeline, messages, message_bytes)

    return play


def fill(server, commands, count):
    """Sends the commands once with each number from 0 up to the count."""
    with on_load_core(), Connections(server.port, CONNECTIONS) as connections:
        if connections.play(Unit(commands).batches_in_turn(FILL_PIPELINE, count)) != count:
            stop(f"{server.kind} was not filled")


@contextlib.contextmanager
def on_load_core():
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {LOAD_CORE})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
