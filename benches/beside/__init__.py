"""What `beside-redis` and `instructions` are made of: `servers` starts and reads the
processes, `callgrind` counts a server's instructions, `resp` is a client, `load` plays
the load with `units`, `fanout` and redis-benchmark, `probe` measures waits, `throughput`
and `shape` hold the questions asked, `table` prints the answers.
"""
