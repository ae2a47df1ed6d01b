"""Recordings of a made-up shop for `slotway check`: what MONITOR shows, an AOF, an RDB file,
the same bytes in every run.

MONITOR and AOF have what applications mostly send (reads and writes of single keys, values
from a byte to a kilobyte, some of them JSON, which MONITOR shows with backslashes), a few
commands of several keys, and transactions. The RDB file is written by redis-server.
"""

import random
import shutil
import subprocess
from pathlib import Path

CLIENTS = 64
KEYS = 200_000


def commands(rng):
    """Endless units: lists of commands, of which one of several is a transaction."""
    hexadecimal = [f"{rng.getrandbits(64):016x}" for _ in range(5000)]
    text = "".join(rng.choice("abcdefghijklmnopqrstuvwxyz ") for _ in range(4096))

    def value(most):
        at = rng.randrange(2048)
        return text[at : at + rng.randrange(1, most)]

    def document(number):
        return f'{{"id":{number},"name":"{value(30)}","tags":["a","b"],"at":"2026-11-30T03:00:00Z"}}'

    while True:
        number, of = rng.randrange(KEYS), rng.random()
        if of < 0.30:
            yield [["GET", f"user:{number}:profile"]]
        elif of < 0.45:
            yield [["GET", f"session:{rng.choice(hexadecimal)}"]]
        elif of < 0.55:
            yield [["SET", f"session:{rng.choice(hexadecimal)}", value(200), "EX", "3600"]]
        elif of < 0.62:
            yield [["SET", f"user:{number}:profile", document(number)]]
        elif of < 0.72:
            yield [["HGET", f"cart:{number}", "total"]]
        elif of < 0.80:
            yield [["HSET", f"cart:{number}", "total", str(number), "note", value(60)]]
        elif of < 0.85:
            yield [["INCR", f"rate:{number % 5000}:2026-11-30"]]
        elif of < 0.90:
            yield [["ZADD", "board:daily", str(number), f"user{number}"]]
        elif of < 0.92:
            yield [["SET", f"page:{number % 3000}", value(2000)]]
        elif of < 0.94:
            yield [["MGET", *(f"{{user:{number}}}:{part}" for part in ("name", "mail", "plan", "seen"))]]
        elif of < 0.95:
            yield [["MGET", *(f"item:{rng.randrange(KEYS)}" for _ in range(5))]]
        elif of < 0.98:
            yield [["EXPIRE", f"cart:{number}", "900"]]
        else:
            order = f"{{order:{number}}}"
            yield [["MULTI"], ["SET", f"{order}:state", "paid"], ["LPUSH", f"{order}:log", value(40)], ["EXEC"]]


def simple(path, length, seed=4):
    """What MONITOR shows of redis-benchmark: one form of key, values of three bytes."""
    rng, at, written = random.Random(seed), 1_795_332_580_764_123, 0
    with open(path, "w") as file:
        while written < length:
            lines = []
            for number in range(10_000):
                at += 5
                key = f"key:{rng.randrange(1_000_000):012}"
                words = f'"SET" "{key}" "xxx"' if number % 2 else f'"GET" "{key}"'
                port = 40_000 + rng.randrange(50)
                lines.append(f"{at // 1_000_000}.{at % 1_000_000:06} [0 127.0.0.1:{port}] {words}\n")
            written += file.write("".join(lines))


def quoted(word):
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'


def monitor(path, length, seed=1):
    """What MONITOR shows, at least so many bytes."""
    rng = random.Random(seed)
    at, written = 1_795_332_580_764_123, 0
    units = commands(rng)
    with open(path, "w") as file:
        while written < length:
            lines = []
            for _ in range(1000):
                port = 40_000 + rng.randrange(CLIENTS)
                for command in next(units):
                    at += 1 if len(lines) % 3 else 7
                    words = " ".join(map(quoted, command))
                    lines.append(f"{at // 1_000_000}.{at % 1_000_000:06} [0 127.0.0.1:{port}] {words}\n")
            written += file.write("".join(lines))


def wire(command):
    return f"*{len(command)}\r\n" + "".join(f"${len(word)}\r\n{word}\r\n" for word in command)


def aof(path, length, seed=2):
    """The commands of an AOF, at least so many bytes."""
    written, units = 0, commands(random.Random(seed))
    reads = {"GET", "HGET", "MGET"}
    with open(path, "w", newline="") as file:
        written += file.write(wire(["SELECT", "0"]))
        while written < length:
            writes = (command for _ in range(1000) for command in next(units) if command[0] not in reads)
            written += file.write("".join(map(wire, writes)))


def rdb(path, server, keys, seed=3):
    """What redis-server saves of so many keys."""
    client, units = server.client(), commands(random.Random(seed))
    with subprocess.Popen(
        ["redis-cli", "-p", str(server.port), "--pipe"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    ) as pipe:
        number = 0
        while number < keys:
            batch = []
            for _ in range(1000):
                batch.append(wire(["SET", f"user:{number}:profile", next_value(units)]))
                if number % 4 == 0:
                    batch.append(wire(["HSET", f"cart:{number}", "total", str(number), "note", "x" * (number % 50)]))
                if number % 10 == 0:
                    batch.append(wire(["RPUSH", f"log:{number}", *(str(n * number) for n in range(40))]))
                number += 1
            pipe.stdin.write("".join(batch))
    client.call("SAVE")
    shutil.move(Path(server.folder, "dump.rdb"), path)


def next_value(units):
    """A value of the next SET."""
    while True:
        for command in next(units):
            if command[0] == "SET":
                return command[2]
