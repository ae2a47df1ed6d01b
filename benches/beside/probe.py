"""A probe: GETs of some keys from one connection each, a millisecond apart, that note
how long the slowest answer took."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

from .resp import Client

INTERVAL_S = 0.001


class Probe:
    """Runs from its making until `worst_ms` is asked for, or the block that it is made for
    ends."""

    def __init__(self, port, keys):
        self.is_over = threading.Event()
        clients = [Client(port) for _ in keys]
        self.threads = ThreadPoolExecutor(len(clients))
        self.waits = [self.threads.submit(self.longest_wait_s, *pair) for pair in zip(clients, keys)]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.is_over.set()
        self.threads.shutdown()

    def longest_wait_s(self, client, key):
        longest = 0
        with client:
            while not self.is_over.is_set():
                sent = time.monotonic()
                client.call("GET", key)
                wait = time.monotonic() - sent
                longest = max(longest, wait)
                # The next GET goes out only after the answer.
                time.sleep(max(0, INTERVAL_S - wait))
        return longest

    def worst_ms(self):
        self.is_over.set()
        return max(wait.result() for wait in self.waits) * 1000
