"""Who plays the load: redis-benchmark for GET and SET (everybody can repeat
it), `load.c` for what it cannot send, or sends too slowly. Both are pinned to
LOAD_CORE, so that the server's core belongs to the server.
"""

import json
import shutil
import subprocess
import tempfile
from pathlib import Path

from .resp import encode

SERVER_CORE, LOAD_CORE = 0, 1
CONNECTIONS = 50
# redis-benchmark puts a random number of twelve digits here, and so does load.c.
RANDOM = "__rand_int__"
# Only load.c knows this one: another random number.
OTHER = "__rand_two__"


class Load:
    """The load tools, compiled and found once."""

    def __init__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="beside-redis-load-")
        self.program = str(Path(self.folder.name, "load"))
        source = Path(__file__).resolve().parents[1] / "load.c"
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None:
            raise SystemExit("beside-redis: no C compiler; get one with: apt-get install gcc libc6-dev")
        if shutil.which("redis-benchmark") is None:
            raise SystemExit("beside-redis: redis-benchmark is not there; get it with: apt-get install redis-tools")
        subprocess.run([compiler, "-O2", "-o", self.program, str(source)], check=True)

    def benchmark(self, server, command, pipeline, operations, keyspace, value_bytes=3):
        """Runs one of redis-benchmark's own tests and returns the operations it
        was told to do."""
        words = ["redis-benchmark", "-h", "127.0.0.1", "-p", str(server.port), "-c", str(CONNECTIONS), "-q",
                 "-n", str(operations), "-r", str(keyspace), "-P", str(pipeline), "-d", str(value_bytes), "-t", command]
        done = run(["taskset", "-c", str(LOAD_CORE), *words])
        if "requests per second" not in done.stdout:
            raise SystemExit(f"beside-redis: {' '.join(words)}:\n{done.stdout}{done.stderr}")
        return operations

    def units(self, server, commands, pipeline, units, keyspace):
        """Sends whole units (see load.c) and returns how many were answered."""
        done = run(
            ["taskset", "-c", str(LOAD_CORE), self.program, "units", str(server.port), str(CONNECTIONS),
             str(pipeline), str(units), str(keyspace)],
            b"".join(encode(*words) for words in commands),
        )
        answer = json.loads(done.stdout)
        if answer["units"] != units or answer["errors"]:
            raise SystemExit(f"beside-redis: asked for {units} units and got {answer}")
        return units

    def fanout(self, server, subscribers, pipeline, messages, message_bytes):
        """Publishes to so many subscribers and returns the messages they got, all together."""
        done = run(["taskset", "-c", str(LOAD_CORE), self.program, "fanout", str(server.port), str(subscribers),
                    str(pipeline), str(messages), str(message_bytes)])
        return json.loads(done.stdout)["messages"] * subscribers

    def fill(self, server, commands, units):
        """Sends the commands once with each number from 0 up to `units`."""
        self.units(server, commands, 100, units, 0)

    def probe(self, server, keys, interval_us=1000):
        """Starts a probe of the keys and returns the running process; `ended`
        stops it and reads its result."""
        process = subprocess.Popen(
            [self.program, "probe", str(server.port), str(interval_us), *keys],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        if process.stdout.readline() != "ready\n":
            raise SystemExit("beside-redis: the probe did not start")
        return process


def ended(probe):
    out, _ = probe.communicate()
    if probe.returncode != 0:
        raise SystemExit(f"beside-redis: the probe failed: {out}")
    return json.loads(out)


def run(words, given=b""):
    done = subprocess.run(words, input=given, capture_output=True)
    done.stdout, done.stderr = done.stdout.decode(), done.stderr.decode()
    if done.returncode != 0:
        raise SystemExit(f"beside-redis: {' '.join(words)}: status {done.returncode}\n{done.stdout}{done.stderr}")
    return done
