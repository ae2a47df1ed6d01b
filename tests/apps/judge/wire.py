"""A connection to Redis that knows nothing of clusters or of clients' kindness: words
out, what the server answered in. A client library would follow a MOVED, or refuse
before the server could."""

import socket


class Refused(Exception):
    """An error that the server answered."""


class Wire:
    def __init__(self, port, patience=20):
        self.socket = socket.create_connection(("127.0.0.1", port), patience)
        self.input = self.socket.makefile("rb")

    def send(self, *words):
        words = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        parts = [b"*%d\r\n" % len(words)]
        parts += [b"$%d\r\n%s\r\n" % (len(word), word) for word in words]
        self.socket.sendall(b"".join(parts))

    def read(self):
        """An answer; errors as `Refused`, not raised, as they also stand inside arrays."""
        line = self.input.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("the server closed the connection")
        kind, rest = line[:1], line[1:-2]
        if kind == b"-":
            return Refused(rest.decode("utf-8", "replace"))
        if kind == b":":
            return int(rest)
        if kind == b"+":
            return rest
        if kind == b"$":
            size = int(rest)
            return None if size < 0 else self.input.read(size + 2)[:-2]
        if kind == b"*":
            size = int(rest)
            return None if size < 0 else [self.read() for _ in range(size)]
        raise ConnectionError(f"no answer of RESP2: {line!r}")

    def ask(self, *words):
        self.send(*words)
        return self.read()

    def sure(self, *words):
        """An answer that is no error."""
        answer = self.ask(*words)
        if isinstance(answer, Refused):
            raise answer
        return answer

    def close(self):
        self.input.close()
        self.socket.close()
