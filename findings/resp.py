"""A client that shows replies as the server sends them: RESP2 and RESP3, nothing follows, nothing retries.

    import resp
    one = resp.Client(port)
    print(one("SET k v"), one("SET", "k", "a b"))

Also a command: resp.py PORT COMMAND...
"""

import select
import socket
import sys


class Client:
    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", int(port)), timeout=10)
        self.unread = b""

    def __call__(self, *words):
        """The reply to one command, given as words or as one text of them. Errors are texts that begin with '-'."""
        self.send(*words)
        return self.read()

    def send(self, *words):
        if len(words) == 1 and isinstance(words[0], str):
            words = words[0].split(" ")
        words = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        self.socket.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words))

    def read(self):
        line = self._line()
        kind, rest = line[:1], line[1:].decode()
        if kind == b"+":
            return rest
        if kind == b"-":
            return "-" + rest
        if kind == b":":
            return int(rest)
        if kind == b"_":
            return None
        if kind in b"$=":
            return None if int(rest) < 0 else self._take(int(rest) + 2)[:-2].decode("latin1")
        if kind in b"*~":
            return None if int(rest) < 0 else [self.read() for _ in range(int(rest))]
        if kind == b">":
            return ("push", [self.read() for _ in range(int(rest))])
        if kind == b"%":
            return {str(self.read()): self.read() for _ in range(int(rest))}
        raise ValueError(line)

    def more(self, seconds=0.3):
        """A further reply, or None if there is none within this time."""
        if not self.unread and not select.select([self.socket], [], [], seconds)[0]:
            return None
        return self.read()

    def _line(self):
        while b"\r\n" not in self.unread:
            self._fill()
        line, self.unread = self.unread.split(b"\r\n", 1)
        return line

    def _take(self, count):
        while len(self.unread) < count:
            self._fill()
        taken, self.unread = self.unread[:count], self.unread[count:]
        return taken

    def _fill(self):
        data = self.socket.recv(65536)
        if not data:
            raise EOFError
        self.unread += data


def commands(data):
    """The commands of an append-only file (or of its RDB preamble's rest), each as one text."""
    found, at = [], 0
    while at < len(data):
        if data[at : at + 1] == b"#":
            at = data.index(b"\n", at) + 1
            continue
        end = data.index(b"\r\n", at)
        count, at, words = int(data[at + 1 : end]), end + 2, []
        for _ in range(count):
            end = data.index(b"\r\n", at)
            size = int(data[at + 1 : end])
            words.append(data[end + 2 : end + 2 + size].decode("latin1"))
            at = end + 4 + size
        found.append(" ".join(words))
    return found


if __name__ == "__main__":
    reply = Client(sys.argv[1])(*(sys.argv[2:] if len(sys.argv) > 3 else [sys.argv[2]]))
    print(reply)
    sys.exit(isinstance(reply, str) and reply.startswith("-"))
