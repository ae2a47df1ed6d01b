"""What the checks of both clients share: the way to tests/clients/topology, a key for
each slot, and the ledger of increments.
"""

import asyncio
import os
import pathlib
import subprocess
import threading

from redis.crc import key_slot
from redis.exceptions import (
    AskError, ClusterDownError, ClusterError, ConnectionError, MovedError, SlotNotCoveredError, TimeoutError,
    TryAgainError, WatchError,
)

NODES = os.environ["SLOTWAY_NODES"].split()
HOST, PORT = NODES[0].rsplit(":", 1)[0], int(NODES[0].rsplit(":", 1)[1])
TOPOLOGY = str(pathlib.Path(__file__).parents[2] / "topology")

# The node has refused: nothing was done, and the same may be tried again.
REFUSED = (AskError, ClusterDownError, ClusterError, MovedError, SlotNotCoveredError, TryAgainError, WatchError)
# Nobody knows whether it was done.
UNKNOWN = (ConnectionError, TimeoutError)


def topology(*words):
    """One order of the script; what it prints. It bounds its own waits."""
    done = subprocess.run([TOPOLOGY, *map(str, words)], capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise RuntimeError(f"topology {words}: {done.stderr.strip()}")
    return done.stdout.strip()


async def topology_async(*words):
    return await asyncio.to_thread(topology, *words)


def address(node):
    return f"{node.host}:{node.port}"


def find_tags():
    """The first decimal number in each slot, to stand between braces."""
    tags, number = {}, 0
    while len(tags) < 16384:
        tags.setdefault(key_slot(str(number).encode()), str(number))
        number += 1
    return tags


TAGS = find_tags()


def first_slots(node, count):
    """What `topology reshard` takes from that node."""
    found = []
    for part in topology("slots", node).split():
        low, _, high = part.partition("-")
        found.extend(range(int(low), int(high or low) + 1))
    return found[:count]


class Ledger:
    """What increments came to. The answers to a key's increments are all different, or
    one was lost; a key's value lies between the number of answers and that plus the
    number of increments of unknown outcome, or one was lost or done twice."""

    def __init__(self, keys):
        self.answers = {key: [] for key in keys}
        self.unknown = dict.fromkeys(keys, 0)
        self.refused, self.surprises = 0, []
        self.lock = threading.Lock()

    def answered(self, key, value):
        with self.lock:
            self.answers[key].append(value)

    def broken(self, key, error):
        """An increment ended in this error."""
        with self.lock:
            if isinstance(error, REFUSED):
                self.refused += 1
            elif isinstance(error, UNKNOWN):
                self.unknown[key] += 1
            else:
                self.surprises.append(f"{key}: {error!r}")

    def total(self):
        with self.lock:
            return sum(map(len, self.answers.values()))

    def check(self, checks, final):
        """`final` has each key's value at the end."""
        checks.equal("no unexpected error", self.surprises[:3], [])
        for key, answers in self.answers.items():
            low, high = len(answers), len(answers) + self.unknown[key]
            checks.hold(f"{key}: every answer is another number", len(set(answers)) == low,
                        f"{low} answers, {len(set(answers))} numbers")
            checks.hold(f"{key}: nothing lost, nothing twice", low <= final[key] <= high,
                        f"{final[key]}, of {low} answered and {self.unknown[key]} of unknown outcome")
