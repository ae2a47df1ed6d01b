"""A server under valgrind's callgrind, and the user instructions that it has executed.

All instructions of the process count: its own code, its allocator, the C library; not the
kernel's. What the server does by itself (timers) is measured while it idles and deducted,
because callgrind slows the server down some fifty times, but not the clock.
"""

import re
import shutil
import subprocess
import time
from pathlib import Path

from .servers import Starter, is_redis, stop

TOOLS = ("valgrind", "vgdb")


def tools_are_there():
    for tool in TOOLS:
        if shutil.which(tool) is None:
            stop(f"{tool} is not there; get it with: apt-get install valgrind")


class Counted:
    """A running server with a counter."""

    def __init__(self, starter: Starter, kind, options):
        prefix = ["valgrind", "--tool=callgrind", "--callgrind-out-file=counts"]
        self.server = starter.start(kind, prefix=prefix, options=options)
        self.dumps = 0
        if is_redis(starter.programs[kind]):
            # Its timer, ten times a second by default, executes a million instructions in that
            # second: too many to be deducted exactly while other work delays it.
            with self.server.client() as client:
                client.call("CONFIG", "SET", "hz", 1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.stop()

    def since_last(self):
        """The instructions since it was last asked, or since the start. A dump sets
        callgrind's counters back to zero."""
        self.dumps += 1
        done = subprocess.run(["vgdb", f"--pid={self.server.pid}", "dump"], capture_output=True, text=True)
        file = Path(self.server.folder, f"counts.{self.dumps}")
        totals = re.search(r"^totals: (\d+)", file.read_text(), re.MULTILINE) if file.exists() else None
        if totals is None:
            self.server.fail(f"callgrind did not dump: {done.stdout}{done.stderr}")
        file.unlink()
        return int(totals[1])

    def per_second_idle(self, seconds):
        """What the server executes in a second without requests."""
        self.since_last()
        began = time.monotonic()
        time.sleep(seconds)
        count = self.since_last()
        return count / (time.monotonic() - began)

    def of(self, play, idle_per_second):
        """The instructions of a play, divided by what it returns."""
        self.since_last()
        began = time.monotonic()
        done = play()
        seconds = time.monotonic() - began
        return (self.since_last() - seconds * idle_per_second) / done
