"""Runs each application, has `slotway check` read what it did, and has a real cluster
judge the same calls. See tests/apps/run.

    false    the check reports it, and the cluster takes it
    missed   the cluster refuses it, and the check is silent
"""

import collections
import contextlib
import importlib.metadata
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile

import record
from real import Real
from servers import Cluster, Server, until

HERE = pathlib.Path(__file__).resolve().parent.parent
#: Each with the program that it is, and the package whose version is told.
APPLICATIONS = {
    "redis-py": ("redis_pipelines.py", "redis"),
    "celery": ("celery_shop.py", "celery"),
    "rq": ("rq_office.py", "rq"),
    "django-redis": ("django_shop.py", "django-redis"),
    "walrus": ("walrus_notes.py", "walrus"),
    "bullmq": ("bullmq.js", "bullmq"),
}
VARIANTS = ("as-written", "hashtags")
#: For an application to come to its end, in seconds.
PATIENCE = 180
#: Rows of a report that are shown.
ROWS_MAX = 20
END = "slotway-apps-end"


def version(package):
    if package == "bullmq":
        told = HERE / "node/node_modules/bullmq/package.json"
        return json.loads(told.read_text())["version"] if told.exists() else None
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def recorded(program, variant, path):
    """Runs an application against a server of its own, and takes down what it says."""
    kind = "node" if program.endswith(".js") else "python"
    command = [sys.executable if kind == "python" else shutil.which("node") or "node", str(HERE / kind / program)]
    with Server() as server, open(path, "wb") as file:
        monitor = subprocess.Popen(["redis-cli", "-p", str(server.port), "monitor"], stdin=subprocess.DEVNULL, stdout=file)
        try:
            until("MONITOR", lambda: path.read_bytes().startswith(b"OK"))
            log = path.with_suffix(".log")
            with open(log, "wb") as said:
                command += [str(server.port), variant]
                # A session of its own, so that nothing it has started outlives it.
                application = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True
                )
                try:
                    status = application.wait(PATIENCE)
                except subprocess.TimeoutExpired:
                    status = f"not within {PATIENCE} s"
                finally:
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(application.pid, signal.SIGKILL)
                    application.wait()
            if status:
                raise SystemExit(f"tests/apps: {program} {variant} failed: {log.read_text()[-3000:]}")
            subprocess.run(["redis-cli", "-p", str(server.port), "ECHO", END], stdout=subprocess.DEVNULL, check=True)
            until("the end of MONITOR", lambda: path.read_bytes().rstrip().endswith(f'"{END}"'.encode()))
        finally:
            monitor.kill()
            monitor.wait()
    # redis-cli's own words on connecting are nobody's application.
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(line for line in lines if END.encode() not in line))


class Check:
    def __init__(self, slotway):
        self.slotway = slotway

    def report(self, path):
        command = [self.slotway, "check", str(path), "--format", "monitor", "--json"]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode not in (0, 3):
            raise SystemExit(f"tests/apps: slotway check {path} ended with {done.returncode}: {done.stderr}")
        return json.loads(done.stdout)

    def errors(self, lines, folder):
        path = folder / "unit.monitor"
        path.write_bytes(b"\n".join(lines) + b"\n")
        return self.report(path)["totals"]["errors"]


def judged(real, check, path, folder):
    """What the check says and what the cluster says, unit by unit."""
    report = check.report(path)
    units = record.units(record.read(path))
    real.cluster.flush()
    verdicts = [real.judge(unit) for unit in units]
    real.cluster.flush()
    lucky = {}
    for at, unit in enumerate(units):
        if verdicts[at] is None and real.hangs_on_luck(unit):
            shape = real.shape(unit)
            if shape not in lucky:
                lucky[shape] = real.judge_parted(unit)
            verdicts[at] = lucky[shape]
    told = {}

    def errors(unit):
        shape = real.shape(unit)
        if shape not in told:
            count = check.errors(unit.lines(), folder)
            # A WATCH is a unit of its own; what it breaks by itself counts there.
            for watch in unit.watches:
                count -= check.errors([watch.raw], folder)
            told[shape] = count
        return told[shape]

    outcome = collections.Counter(calls=report["totals"]["commands"], warnings=report["totals"]["warnings"])
    wrong, whole = [], 0
    for unit, verdict in zip(units, verdicts):
        count = errors(unit)
        whole += count
        outcome["units"] += 1
        outcome["found"] += count > 0
        outcome["confirmed"] += count > 0 and verdict is not None
        if (count > 0) != (verdict is not None):
            kind = "false" if count else "missed"
            outcome[kind] += 1
            wrong.append((kind, verdict, unit))
    # What is found in the whole file is what is found in its parts.
    if whole != report["totals"]["errors"]:
        outcome["missed" if whole > report["totals"]["errors"] else "false"] += abs(whole - report["totals"]["errors"])
        wrong.append(("in the whole", f"{report['totals']['errors']} errors, in the parts {whole}", None))
    unknown = {row["command"]: row["count"] for row in report["unknown_commands"]}
    return outcome, wrong, report, unknown, collections.Counter(filter(None, verdicts))


def main():
    slotway, *names = sys.argv[1:]
    check = Check(slotway)
    wanted = [
        (name, variant)
        for name in APPLICATIONS
        for variant in VARIANTS
        if not names or name in names or f"{name}/{variant}" in names
    ]
    if not wanted:
        raise SystemExit(f"tests/apps: no such application; there are {', '.join(APPLICATIONS)}, each with {VARIANTS}")
    kept = os.environ.get("KEEP")
    folder = pathlib.Path(kept or tempfile.mkdtemp(prefix="slotway-apps-"))
    folder.mkdir(parents=True, exist_ok=True)
    row = "{:14} {:10} {:8} {:>6} {:>6} {:>6} {:>9} {:>6} {:>6} {:>8}"
    print(row.format("application", "variant", "version", "calls", "units", "found", "confirmed", "missed", "false", "warnings"))
    bad, tried = 0, 0
    try:
        with Cluster() as cluster, Server() as single:
            for name, variant in wanted:
                program, package = APPLICATIONS[name]
                told = version(package)
                if told is None:
                    print(f"{name:14} {variant:10} is not installed")
                    continue
                tried += 1
                path = folder / f"{name}-{variant}.monitor"
                recorded(program, variant, path)
                outcome, wrong, report, unknown, why = judged(Real(cluster, single), check, path, folder)
                figures = [outcome[x] for x in ("calls", "units", "found", "confirmed", "missed", "false", "warnings")]
                print(row.format(name, variant, told, *figures), flush=True)
                for violation in report["violations"][:ROWS_MAX]:
                    rule, command = violation["rule"], violation["command"]
                    print(f"    {violation['count']:5} {rule} {command}  {' '.join(violation['patterns'][:4])}")
                if len(report["violations"]) > ROWS_MAX:
                    print(f"          and {len(report['violations']) - ROWS_MAX} rows more")
                for words, count in sorted(unknown.items()):
                    print(f"    {count:5} unknown to the check: {words}")
                for kind, verdict, unit in wrong[:20]:
                    print(f"  ! {kind}: {verdict or 'the cluster takes it'}")
                    for line in unit.lines()[:12] if unit else []:
                        print(f"        {line[:300].decode('utf-8', 'replace')}")
                bad += outcome["missed"] + outcome["false"] > 0
    finally:
        if not kept:
            shutil.rmtree(folder, ignore_errors=True)
    if not tried:
        raise SystemExit("tests/apps: no application could be tried")
    if bad:
        raise SystemExit(f"tests/apps: in {bad} of {tried} something was missed or false")
    print(f"apps: {tried} passed, 0 failed")


main()
