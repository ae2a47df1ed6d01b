"""What MONITOR showed, as the units that a cluster takes or refuses whole.

A unit is a command that stands alone, or a transaction with its guard. This is written
without a look at how `slotway check` reads the same lines: two readers that agree are
worth more than one that is asked twice.
"""

import dataclasses
import re

LINE = re.compile(rb'^(\d+\.\d+) \[(\d+) ([^\]]*)\] (".*")$', re.DOTALL)
WORD = re.compile(rb'"((?:[^"\\]|\\.)*)"', re.DOTALL)
ESCAPE = re.compile(rb"\\(x[0-9a-fA-F]{2}|.)", re.DOTALL)
NAMED = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"a": b"\a", b"b": b"\b"}


def unescaped(found):
    code = found.group(1)
    return bytes([int(code[1:], 16)]) if len(code) == 3 else NAMED.get(code, code)


@dataclasses.dataclass
class Call:
    """A line."""

    words: list
    client: bytes
    raw: bytes
    #: What a script called, if this is one.
    inner: list = dataclasses.field(default_factory=list)

    @property
    def name(self):
        return self.words[0].lower().decode("utf-8", "replace")

    def lines(self):
        return [self.raw, *(call.raw for call in self.inner)]


@dataclasses.dataclass
class Unit:
    """A command, or a transaction: its WATCHes, MULTI, what was queued, EXEC."""

    calls: list
    watches: list = dataclasses.field(default_factory=list)
    multi: Call = None
    exec: Call = None

    def lines(self):
        calls = [*self.watches, *([self.multi] if self.multi else []), *self.calls, *([self.exec] if self.exec else [])]
        return [line for call in calls for line in call.lines()]


def read(path):
    calls = []
    with open(path, "rb") as file:
        for line in file:
            found = LINE.match(line.rstrip(b"\n"))
            if not found:
                if line.strip() not in (b"", b"OK"):
                    raise SystemExit(f"tests/apps: not a line of MONITOR: {line!r}")
                continue
            when, _, client, text = found.groups()
            words = [ESCAPE.sub(unescaped, word) for word in WORD.findall(text)]
            # The database is told once, by SELECT: that is what a cluster refuses.
            calls.append(Call(words, client, b"%s [0 %s] %s" % (when, client, text)))
    return calls


def unused(watches):
    """A guard that no EXEC came to: still, each WATCH had to go where the others went."""
    return [Unit([], watches)] if len(watches) > 1 else []


def units(calls):
    found, guards, queues, last = [], {}, {}, None
    for call in calls:
        if call.client == b"lua":
            last.inner.append(call)
            continue
        last, client = call, call.client
        queue = queues.get(client)
        if call.name == "multi":
            queues[client] = (call, [])
        elif call.name == "exec":
            watches = guards.pop(client, [])
            if queue:
                del queues[client]
                found.append(Unit(queue[1], watches, queue[0], call))
        elif call.name in ("discard", "reset"):
            found.extend(unused(guards.pop(client, [])))
            queues.pop(client, None)
        elif queue:
            queue[1].append(call)
        else:
            if call.name == "watch":
                guards.setdefault(client, []).append(call)
            elif call.name == "unwatch":
                found.extend(unused(guards.pop(client, [])))
            found.append(Unit([call]))
    return found
