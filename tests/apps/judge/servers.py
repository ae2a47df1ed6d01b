"""Real servers: one Redis, or a cluster of three, each in a folder of its own, which end
with the block that they were started in."""

import shutil
import socket
import subprocess
import tempfile
import time

from wire import Refused, Wire

#: For what has to happen at all, in seconds.
PATIENCE = 60


def until(what, wanted):
    """Asks until it is so."""
    deadline = time.monotonic() + PATIENCE
    while not wanted():
        if time.monotonic() > deadline:
            raise SystemExit(f"tests/apps: {what} did not happen within {PATIENCE} s")
        time.sleep(0.02)


def free_port():
    """A port that is free, and so is the one of the cluster's bus, 10,000 above."""
    for _ in range(1000):
        with socket.socket() as one, socket.socket() as bus:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
            if port + 10_000 > 65_535:
                continue
            try:
                bus.bind(("127.0.0.1", port + 10_000))
            except OSError:
                continue
            return port
    raise SystemExit("tests/apps: no free port")


class Server:
    def __init__(self, *options):
        self.port = free_port()
        self.folder = tempfile.mkdtemp(prefix="slotway-apps-")
        words = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        words += ["--dir", self.folder, *options]
        self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        until("the start of redis-server", self.answers)

    def answers(self):
        if self.process.poll() is not None:
            raise SystemExit("tests/apps: redis-server ended at once")
        try:
            wire = Wire(self.port)
        except OSError:
            return False
        ready = wire.ask("PING") == b"PONG"
        wire.close()
        return ready

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


class Cluster:
    """Three masters, the slots dealt out by redis-cli."""

    def __enter__(self):
        self.servers = []
        try:
            for _ in range(3):
                self.servers.append(Server("--cluster-enabled", "yes", "--cluster-node-timeout", "30000"))
            self.form()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for server in self.servers:
            server.__exit__()

    def form(self):
        addresses = [f"127.0.0.1:{server.port}" for server in self.servers]
        command = ["redis-cli", "--cluster", "create", *addresses, "--cluster-yes"]
        made = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE)
        if made.returncode:
            raise SystemExit(f"tests/apps: redis-cli forms no cluster: {made.stdout}{made.stderr}")
        self.nodes = [Wire(server.port) for server in self.servers]
        self.ids = [node.sure("CLUSTER", "MYID").decode() for node in self.nodes]
        until("a cluster of one mind", lambda: all(b"cluster_state:ok" in n.sure("CLUSTER", "INFO") for n in self.nodes))
        self.owners = {}
        for first, last, (_, port, *_), *_ in self.nodes[0].sure("CLUSTER", "SLOTS"):
            node = [server.port for server in self.servers].index(port)
            self.owners.update({slot: node for slot in range(first, last + 1)})
        self.slots = {}

    def slot(self, key):
        if key not in self.slots:
            self.slots[key] = self.nodes[0].sure("CLUSTER", "KEYSLOT", key)
        return self.slots[key]

    def everywhere(self, *words):
        return [node.ask(*words) for node in self.nodes]

    def flush(self):
        self.everywhere("FLUSHALL")
        self.everywhere("SCRIPT", "FLUSH")

    def give(self, slot, node):
        """Another owner for a slot that holds no keys."""
        for answer in self.everywhere("CLUSTER", "SETSLOT", slot, "NODE", self.ids[node]):
            if isinstance(answer, Refused):
                raise answer
        self.owners[slot] = node
