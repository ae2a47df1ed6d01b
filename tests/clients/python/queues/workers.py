"""What all checks of queues share: the server's address and what it can do, a
ledger of what ran, worker processes that end when the checks do, and patience
that has an end.
"""

import atexit
import collections
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import redis

#: The nodes of a cluster, for libraries that work through RedisCluster; none: the router port.
NODES = os.environ.get("SLOTWAY_NODES", "").split()
if NODES:
    HOST, PORT = NODES[0].rsplit(":", 1)[0], int(NODES[0].rsplit(":", 1)[1])
else:
    HOST = os.environ.get("SLOTWAY_HOST", "127.0.0.1")
    PORT = int(os.environ.get("SLOTWAY_PORT", "7000"))
URL = f"redis://{HOST}:{PORT}/0"
#: For what has to happen at all. Seconds, generous: nothing waits this long that works.
PATIENCE = 40


def connect(timeout=PATIENCE):
    """A client of the server under test, or of the whole cluster."""
    kind = redis.RedisCluster if NODES else redis.Redis
    return kind(host=HOST, port=PORT, socket_timeout=timeout)


class Server:
    """The server under test, as far as the checks must know it."""

    def __init__(self):
        self.client = connect(20)

    def knows(self, *commands):
        one = redis.Redis(HOST, PORT, socket_timeout=20)
        answers = [one.execute_command("COMMAND INFO", command) for command in commands]
        return all(any(answer) for answer in answers)

    @property
    def scripts(self):
        return self.knows("EVALSHA", "SCRIPT")


class Ledger:
    """Who ran, in a file: one line a run, appended by whichever process ran it.
    Lines this short are written whole or not at all."""

    def __init__(self, path):
        self.path = pathlib.Path(path)

    def note(self, *words):
        line = " ".join(map(str, words)) + "\n"
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)

    def lines(self):
        return self.path.read_text().splitlines() if self.path.exists() else []

    def runs(self):
        return collections.Counter(self.lines())


class Folder:
    """A folder for the ledger, the workers' logs and the gates that jobs wait at.
    Workers learn of it through the environment."""

    def __init__(self, path=None):
        if path is None:
            path = tempfile.mkdtemp(prefix="queues.")
            atexit.register(shutil.rmtree, path, ignore_errors=True)
        self.path = pathlib.Path(path)
        self.ledger = Ledger(self.path / "ledger")

    @classmethod
    def of_worker(cls):
        return cls(os.environ["QUEUES_FOLDER"])

    def gate(self, name):
        return self.path / f"gate.{name}"

    def open(self, name):
        self.gate(name).touch()

    def wait_at(self, name):
        """In a worker: until the checks open the gate."""
        if not eventually(self.gate(name).exists):
            raise TimeoutError(f"nobody opened {name}")


def eventually(happened, patience=PATIENCE):
    """Asks until it has happened, and gives up only long after it should have."""
    deadline = time.monotonic() + patience
    while not (answer := happened()):
        if time.monotonic() > deadline:
            return answer
        time.sleep(0.02)  # between two questions, never instead of one
    return answer


class Worker:
    """A worker in a process group of its own, with its children."""

    running = set()

    def __init__(self, folder, name, *words, **environment):
        self.log = folder.path / f"{name}.log"
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, *map(str, words)], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
                env=os.environ | {
                    "QUEUES_FOLDER": str(folder.path), "SLOTWAY_HOST": HOST, "SLOTWAY_PORT": str(PORT),
                    "SLOTWAY_NODES": " ".join(NODES),
                    "PYTHONPATH": str(pathlib.Path(__file__).parent.parent),
                } | environment,
            )
        Worker.running.add(self)

    def until(self, happened):
        """What it was asked to do has happened; if it never does, nothing that
        follows can be judged."""
        eventually(lambda: happened() or self.process.poll() is not None)
        if not happened():
            raise RuntimeError(f"the worker {self.log.stem} did not get there")

    def stop(self, with_signal=signal.SIGTERM):
        """Asks it to end and says how it did; one that will not is killed, and None."""
        if self.process.poll() is None:
            self.process.send_signal(with_signal)
        try:
            status = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            status = None
        self.kill()
        return status

    def kill(self):
        """SIGKILL to all of it at once, as when a machine goes down."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        Worker.running.discard(self)


def end_all():
    for worker in list(Worker.running):
        worker.kill()


def run(checks, folder, parts):
    """The parts in order, each on what the one before it left; one that breaks ends
    the run. If anything failed, the ends of the workers' logs are shown."""
    atexit.register(end_all)
    # Who is stopped from outside comes past there as well.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    for part in parts:
        checks.part = f"{checks.name} {part.__name__}"
        try:
            part()
        except Exception as error:
            checks.hold("ended early", False, repr(error))
            break
    if checks.failed:
        for log in sorted(folder.path.glob("*.log")):
            print(f"---- {log.name}", *log.read_text(errors="replace").splitlines()[-40:], sep="\n", file=sys.stderr)
    return checks.finish()


def left_out(checks, what, needs):
    print(f"{checks.name}: left out {what}: the server has no {needs}")
