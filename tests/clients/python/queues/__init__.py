"""Job queues and locks as applications run them: real workers, processes of their
own, against the server under test. `NAME_jobs.py` is what a worker imports,
`NAME_checks.py` sends the jobs and judges what became of them.

What a job did is written to a file, not to the server that is being judged; see
`Ledger` in workers.py. A part that needs commands the server does not have (Lua
scripts) is left out and said to be; see `Server.knows`.
"""
