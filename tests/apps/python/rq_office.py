"""RQ as its documentation uses it: jobs, a job that depends on another, retries, meta
data, a burst worker, registries.

    rq_office.py PORT as-written|hashtags
"""

import pathlib
import sys

PORT, VARIANT = int(sys.argv[1]), sys.argv[2]
HERE = pathlib.Path(__file__).resolve()
sys.path[:0] = [str(HERE.parent), str(HERE.parents[2] / "clients" / "python")]

import redis
from rq import Queue, Retry, SimpleWorker
from rq.job import Job
from rq.registry import FailedJobRegistry, FinishedJobRegistry

import rq_jobs
from queues.one_slot import OneSlot

# RQ's names cannot be chosen: a connection that puts a tag before every key can.
connection = (OneSlot if VARIANT == "hashtags" else redis.Redis)(port=PORT)
high, low = Queue("high", connection=connection), Queue("low", connection=connection)

first = high.enqueue(rq_jobs.add, 1, 2)
second = low.enqueue(rq_jobs.add, 3, 4, depends_on=first)
third = low.enqueue(rq_jobs.wrong, retry=Retry(max=1))
for number in range(5):
    high.enqueue(rq_jobs.add, number, number, meta={"number": number})
low.enqueue_many([Queue.prepare_data(rq_jobs.add, (n, n)) for n in range(3)])

SimpleWorker([high, low], connection=connection).work(burst=True, logging_level="ERROR")

assert first.return_value() == 3 and second.return_value() == 7
assert third.get_status(refresh=True) == "failed"
Job.fetch_many([first.id, second.id], connection=connection)
registry = FailedJobRegistry(queue=low)
registry.requeue(registry.get_job_ids()[0])
SimpleWorker([low], connection=connection).work(burst=True, logging_level="ERROR")
FinishedJobRegistry(queue=high).get_job_ids()
first.delete()
third.cancel()
low.empty()
high.delete(delete_jobs=True)
