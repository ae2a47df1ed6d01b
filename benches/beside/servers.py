"""The processes under test: started on free ports of 127.0.0.1 with nothing
else to do (no persistence), read through /proc, stopped with SIGTERM.

CPU is the sum of every thread's run time in nanoseconds, from
/proc/PID/task/*/schedstat. The kernel brings a running thread's number up to
date only at its next tick, so it is read before and after a load, when the
server sleeps; no server ends a thread in between. The same file tells how
long the threads stood in line for a core: that is how a busy machine shows.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from .resp import Client

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS_MAX = 20


def stop(why):
    """Ends the program with a sentence that begins with its name."""
    raise SystemExit(f"{Path(sys.argv[0]).name}: {why}")


def free_port():
    """A port that was free a moment ago, below the range that the kernel hands
    to outgoing connections: ten thousand of those are opened here."""
    for port in range(21000 + os.getpid() % 4000, 32000):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    stop("no free port between 21000 and 32000")


def environment(command):
    """Redis Stack's wheel brings an OpenSSL of its own."""
    folders = [Path(word).parent / "../openssl" for word in command if is_redis(word)]
    own = [str(folder) for folder in folders if folder.exists()]
    return {**os.environ, "LD_LIBRARY_PATH": own[0]} if own else None


class Server:
    """One running server."""

    def __init__(self, kind, port, command):
        self.kind, self.port, self.command = kind, port, command
        self.folder = tempfile.mkdtemp(prefix="beside-redis-")
        self.log = Path(self.folder, "log")
        self.started_ns = time.monotonic_ns()
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment(command)
            )
        self.pid = self.process.pid

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def fail(self, what):
        text = self.log.read_text(errors="replace")[-2000:]
        self.stop()
        stop(f"{self.kind}: {what}\n  {' '.join(self.command)}\n{text}")

    def await_ping(self):
        """Tries again at once until a PING is answered, and notes the moment."""
        deadline = self.started_ns + START_SECONDS_MAX * 1_000_000_000
        while True:
            connection = socket.socket()
            try:
                connection.connect(("127.0.0.1", self.port))
                connection.settimeout(START_SECONDS_MAX)
                connection.sendall(b"PING\r\n")
                if connection.recv(64).startswith(b"+PONG"):
                    self.answered_ns = time.monotonic_ns()
                    return
            except OSError:
                pass
            finally:
                connection.close()
            if self.process.poll() is not None:
                self.fail(f"ended with status {self.process.returncode} before it answered")
            if time.monotonic_ns() > deadline:
                self.fail(f"did not answer within {START_SECONDS_MAX} s")

    def client(self):
        return Client(self.port)

    def cpu_ns(self):
        return self.schedule_ns()[0]

    def schedule_ns(self):
        """Nanoseconds that the threads ran, and that they were ready to run but
        waited for a core."""
        ran = waited = 0
        for task in os.listdir(f"/proc/{self.pid}/task"):
            with open(f"/proc/{self.pid}/task/{task}/schedstat") as file:
                numbers = file.read().split()
                ran, waited = ran + int(numbers[0]), waited + int(numbers[1])
        return ran, waited

    def rss_bytes(self):
        with open(f"/proc/{self.pid}/status") as file:
            for line in file:
                if line.startswith("VmRSS:"):
                    return int(line.split()[1]) * 1024
        stop(f"no VmRSS for process {self.pid}")

    def settled_rss_bytes(self):
        """Resident memory once it has stopped moving: both servers tidy up
        (shrink buffers, finish a table's growth) in the seconds after a load."""
        history = []
        for _ in range(40):
            history.append(self.rss_bytes())
            # Redis looks at a buffer again two seconds after its last use, so
            # three quiet seconds say that this is over.
            if len(history) >= 9 and max(history[-7:]) - min(history[-7:]) <= 64 * 1024:
                break
            time.sleep(0.5)
        return history[-1]

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


class Starter:
    """Knows the programs by kind (`ours`, `redis`, `baseline`) and how each is started. A
    program called redis-server is started as Redis in any place: Redis beside itself shows
    how far from 1.00 the machine's own noise reaches."""

    def __init__(self, options=(), **programs):
        """The options are for our program."""
        self.programs = {kind: find_program(name) for kind, name in programs.items()}
        self.options = options

    @property
    def other(self):
        """The kind of what stands beside ours, where there is one."""
        return next(kind for kind in self.programs if kind != "ours")

    def start(self, kind, shards=4, threads=1, prefix=(), options=()):
        """Starts a server of our program with the further options; of Redis, without them. The
        prefix goes before the command."""
        for _ in range(3):
            port = free_port()
            command = command_line(self.programs[kind], port, shards, threads, [*self.options, *options])
            server = Server(kind, port, [*prefix, *command])
            if server_is_up(server):
                return server
            server.stop()
        return server.fail("could not get a port")

    def versions(self):
        """What each program calls itself, by kind."""

        def version(program):
            out = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
            return out.split("\n")[0].strip()

        return {kind: version(program) for kind, program in self.programs.items()}


def is_redis(program):
    return Path(program).name.startswith(("redis-server", "valkey-server"))


def command_line(program, port, shards, threads, options):
    if is_redis(program):
        # Redis Stack has its modules in a folder beside it.
        module = Path(program).parent / "../lib/rejson.so"
        modules = ["--loadmodule", str(module)] if module.exists() else []
        return [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", *modules]
    command = [program, "serve", "--port", str(port), "--shards", str(shards), "--node-ports", "off", "--output", "json"]
    return [*command, *([] if threads is None else ["--threads", str(threads)]), *options]


def server_is_up(server):
    """False when another process took the port first."""
    try:
        server.await_ping()
    except SystemExit as failure:
        if "in use" in str(failure) or "is taken" in str(failure):
            return False
        raise
    return server.process.poll() is None


def find_program(name):
    found = shutil.which(name) or (ROOT / name if os.access(ROOT / name, os.X_OK) else None)
    if found is None:
        stop(f"{name} is not there; get it with: " + ("apt-get install redis-server" if is_redis(name) else "cargo build --release"))
    # The servers run in folders of their own, where a path from here would lead nowhere.
    return os.path.abspath(found)


def note(text):
    """A line for the person who waits, kept out of the results."""
    print(text, file=sys.stderr, flush=True)
