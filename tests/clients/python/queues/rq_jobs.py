"""The jobs of an RQ worker: plain functions."""

import os

from .workers import Folder

folder = Folder.of_worker() if "QUEUES_FOLDER" in os.environ else None


def add(job, one, other):
    folder.ledger.note(job)
    return one + other


def flaky(job, failures):
    """Fails that often, then tells how often it ran."""
    folder.ledger.note(job)
    runs = folder.ledger.runs()[job]
    if runs <= failures:
        raise ValueError(job)
    return runs


def hold(job):
    """Stays until the checks let it go, or the worker is killed."""
    folder.ledger.note("begun", job)
    folder.wait_at(job)
    folder.ledger.note("done", job)
    return job
