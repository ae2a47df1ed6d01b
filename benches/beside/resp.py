"""A Redis client of one screen: enough to fill a server, to compare two of them
and to hold a shard busy. Replies come back as Python values; an error reply is
raised, since nothing here expects one.
"""

import socket


class ReplyError(Exception):
    """An error reply, with the server's own words."""


def encode(*words):
    """One command as RESP."""
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        word = word if isinstance(word, bytes) else str(word).encode()
        parts.append(b"$%d\r\n%s\r\n" % (len(word), word))
    return b"".join(parts)


class Client:
    """A blocking connection to 127.0.0.1."""

    def __init__(self, port, timeout_s=60):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout_s)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.input = self.socket.makefile("rb", buffering=1 << 16)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.input.close()
        self.socket.close()

    def call(self, *words):
        self.socket.sendall(encode(*words))
        return self.reply()

    def pipeline(self, commands):
        """Sends many commands in one go and returns their replies in order."""
        self.socket.sendall(b"".join(encode(*words) for words in commands))
        return [self.reply() for _ in commands]

    def reply(self):
        line = self.input.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("the server closed the connection")
        kind, rest = line[:1], line[1:-2]
        if kind == b"+":
            return rest
        if kind == b"-":
            raise ReplyError(rest.decode(errors="replace"))
        if kind == b":":
            return int(rest)
        if kind == b"$":
            length = int(rest)
            return None if length < 0 else self.input.read(length + 2)[:-2]
        if kind == b"*":
            length = int(rest)
            return None if length < 0 else [self.reply() for _ in range(length)]
        raise ValueError(f"not a reply: {line!r}")


SLOTS = 16384


def slot(key):
    """CRC16/XMODEM of the key's tag, or of the whole key, modulo 16384."""
    key = key.encode()
    opening = key.find(b"{")
    if opening >= 0:
        closing = key.find(b"}", opening + 1)
        if closing > opening + 1:
            key = key[opening + 1 : closing]
    crc = 0
    for byte in key:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1) ^ 0x1021 if crc & 0x8000 else crc << 1
            crc &= 0xFFFF
    return crc % SLOTS


def tag_on_shard(shard, shards):
    """The first of t0, t1, … whose slot the given shard owns. Shard i of n owns
    the slots from i * 16384 / n up to the next shard's first."""
    first = shard * SLOTS // shards
    end = (shard + 1) * SLOTS // shards
    return next(tag for number in range(SLOTS * 64) if first <= slot(tag := f"t{number}") < end)


assert slot("foo") == 12182 and slot("{user}a") == 5474 and slot("foo{}{bar}") == 8363
