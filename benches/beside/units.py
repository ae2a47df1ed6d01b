"""Plays units over many connections in a closed loop: each connection sends a batch,
waits for all of its replies, and sends the next one.

A unit is a few commands that belong together. Batches are made before they are
played, so that the loop itself only sends, receives and counts.
"""

import random
import re
import select
import socket

from .resp import encode
from .servers import stop

# redis-benchmark puts a random number of twelve digits here, and so does a unit: one
# number in all places of a unit, so that the keys of a transaction share a hashtag.
RANDOM = "__rand_int__"
# Another random number for each unit.
OTHER = "__rand_two__"

ANSWER_SECONDS_MAX = 30
RECEIVE_BYTES = 32 * 1024
PING, PONG = encode("PING"), b"+PONG\r\n"


class Unit:
    """Commands with places for numbers. A batch is a pair: the bytes of one write, and
    the number of units in them."""

    def __init__(self, commands):
        text = b"".join(encode(*words) for words in commands).replace(b"%", b"%%")
        parts = re.split(f"({RANDOM}|{OTHER})".encode(), text)
        self.text = b"%012d".join(parts[::2])
        self.is_random = [place == RANDOM.encode() for place in parts[1::2]]

    def batch(self, numbers, others):
        values = [
            number if is_random else other
            for number, other in zip(numbers, others)
            for is_random in self.is_random
        ]
        return self.text * len(numbers) % tuple(values), len(numbers)

    def batches(self, pipeline, units, keyspace, chance):
        """Batches of so many units with random numbers below the keyspace. `chance` returns
        the next number from 0 up to 1."""
        for first in range(0, units, pipeline):
            places = range(min(pipeline, units - first))
            yield self.batch([int(chance() * keyspace) for _ in places], [int(chance() * keyspace) for _ in places])

    def batches_in_turn(self, pipeline, units):
        """Batches with the numbers 0, 1, 2 … in place of random ones: they fill a server."""
        chance = random.Random(1).random
        for first in range(0, units, pipeline):
            numbers = range(first, min(first + pipeline, units))
            yield self.batch(numbers, [int(chance() * 1_000_000) for _ in numbers])


class Connections:
    """Open connections to 127.0.0.1, for one play after the other."""

    def __init__(self, port, count):
        self.epoll = select.epoll()
        self.sockets = {}
        for _ in range(count):
            connection = socket.create_connection(("127.0.0.1", port), timeout=ANSWER_SECONDS_MAX)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.sockets[connection.fileno()] = connection
            self.epoll.register(connection.fileno(), select.EPOLLIN)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.epoll.close()
        for connection in self.sockets.values():
            connection.close()

    def play(self, batches):
        """Plays the batches and returns how many units were answered. All units of a play
        have replies of the same number of lines as those of the first batch, which goes
        alone; so counting lines is enough to know when a batch is answered."""
        batches = iter(batches)
        text, played = next(batches)
        lines_per_unit = self.lines_of_replies(text) // played
        send = {number: connection.sendall for number, connection in self.sockets.items()}
        recv = {number: connection.recv for number, connection in self.sockets.items()}
        poll = self.epoll.poll
        owed = {}

        def send_next(number):
            nonlocal played
            text, units = next(batches, (b"", 0))
            if units:
                send[number](text)
                owed[number] = units * lines_per_unit
                played += units

        for number in self.sockets:
            send_next(number)
        while owed:
            events = poll(ANSWER_SECONDS_MAX)
            if not events:
                stop(f"no answer for {ANSWER_SECONDS_MAX} seconds")
            for number, _ in events:
                left = owed.pop(number, 0) - receive(recv[number]).count(b"\n")
                if left > 0:
                    owed[number] = left
                elif left == 0:
                    send_next(number)
                else:
                    stop("more replies than requests")
        return played

    def lines_of_replies(self, text):
        """Plays one batch alone, with a PING behind it that marks its end."""
        connection = next(iter(self.sockets.values()))
        connection.sendall(text + PING)
        got = b""
        while not got.endswith(PONG):
            got += receive(connection.recv)
        return got.count(b"\n") - 1


# An error or null: these are the only ones that begin with a minus sign.
REFUSED = re.compile(rb"\n[$*]?-")


def receive(recv):
    """The next bytes of replies, none of which is expected to be an error or null. (One at the
    very beginning is not seen; where all of a batch are refused, the next one is.)"""
    got = recv(RECEIVE_BYTES)
    if not got:
        stop("the server closed a connection")
    if REFUSED.search(got):
        stop(f"an unexpected reply: {got[:200]}")
    return got
