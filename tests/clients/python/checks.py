"""Counts what holds and says what does not. A check never stops the run: one
broken answer should not hide the next.
"""

import argparse
import os
import sys


class Checks:
    """`name` opens the closing line, which reads `name: N passed, M failed`."""

    def __init__(self, name):
        self.name, self.passed, self.failed, self.part = name, 0, 0, ""

    def hold(self, what, truth, seen=""):
        if truth:
            self.passed += 1
        else:
            self.failed += 1
            print(f"FAILED  {self.part}: {what} {seen}", file=sys.stderr)

    def equal(self, what, actual, expected):
        self.hold(what, actual == expected, f"\n  expected {expected!r}\n  actual   {actual!r}")

    def error(self, what, actual, kind, text):
        """`actual` is exactly this class of the client's own, with this text in it."""
        self.hold(what, type(actual) is kind and text in str(actual),
                  f"\n  expected {kind.__name__} with {text!r}\n  actual   {actual!r}")

    def raises(self, what, kind, text, call):
        try:
            actual = call()
        except Exception as error:  # whatever comes is compared, and shown
            actual = error
        self.error(what, actual, kind, text)

    async def raises_async(self, what, kind, text, awaitable):
        try:
            actual = await awaitable
        except Exception as error:
            actual = error
        self.error(what, actual, kind, text)

    def finish(self):
        print(f"{self.name}: {self.passed} passed, {self.failed} failed")
        return 1 if self.failed or not self.passed else 0


def options():
    """HOST and PORT from the arguments or the environment. With --reference the
    server is a real Redis node and the router's own rules are left out."""
    parser = argparse.ArgumentParser()
    parser.add_argument("host", nargs="?", default=os.environ.get("SLOTWAY_HOST", "127.0.0.1"))
    parser.add_argument("port", nargs="?", type=int, default=int(os.environ.get("SLOTWAY_PORT", "7000")))
    parser.add_argument("--reference", action="store_true", default=os.environ.get("SLOTWAY_REFERENCE") == "1")
    return parser.parse_args()
