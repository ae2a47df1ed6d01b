"""One publisher and many subscribers of one channel. The publisher's next batch goes
out when every subscriber has had all of the last one; each subscriber's stream is
known to the byte, so it is compared and not parsed.
"""

import select
import socket

from .resp import Client, encode
from .servers import stop
from .units import ANSWER_SECONDS_MAX

CHANNEL = b"news"
RECEIVE_BYTES = 64 * 1024
EVENTS_MAX = 256


class Audience:
    """So many subscribers."""

    def __init__(self, port, count):
        self.epoll = select.epoll()
        self.clients = []
        for _ in range(count):
            client = Client(port, ANSWER_SECONDS_MAX)
            self.clients.append(client)
            if client.call("SUBSCRIBE", CHANNEL) != [b"subscribe", CHANNEL, 1]:
                stop(f"subscriber {len(self.clients)} was refused")
            self.epoll.register(client.socket.fileno(), select.EPOLLIN)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.epoll.close()
        for client in self.clients:
            client.close()

    def receive(self, expected):
        """Waits until each subscriber has received exactly the expected bytes."""
        recv = {client.socket.fileno(): client.socket.recv for client in self.clients}
        parts = {}
        missing = len(recv)
        while missing:
            events = self.epoll.poll(ANSWER_SECONDS_MAX, EVENTS_MAX)
            if not events:
                stop(f"no message for {ANSWER_SECONDS_MAX} seconds")
            for number, _ in events:
                got = recv[number](RECEIVE_BYTES)
                if not got:
                    stop("the server closed a subscriber")
                got = parts.pop(number, b"") + got
                if got == expected:
                    missing -= 1
                elif expected.startswith(got):
                    parts[number] = got
                else:
                    stop(f"not the message that was published: {got[:200]}")


def publish(port, audience, pipeline, messages, message_bytes):
    """Publishes at least so many messages in whole batches, and returns how many of them the
    subscribers received, all together."""
    payload = b"m" * message_bytes
    batch = encode("PUBLISH", CHANNEL, payload) * pipeline
    replies = b":%d\r\n" % len(audience.clients) * pipeline
    expected = encode("message", CHANNEL, payload) * pipeline
    batches = -(-messages // pipeline)
    with socket.create_connection(("127.0.0.1", port), timeout=ANSWER_SECONDS_MAX) as publisher:
        for _ in range(batches):
            publisher.sendall(batch)
            got = publisher.recv(len(replies), socket.MSG_WAITALL)
            if got != replies:
                stop(f"PUBLISH did not reach all subscribers: {got[:200]}")
            audience.receive(expected)
    return batches * pipeline * len(audience.clients)
