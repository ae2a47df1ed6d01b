"""What `beside-redis` is made of: `servers` starts and reads the two processes,
`resp` talks to them, `load` plays the load, `throughput` and `shape` hold the
questions asked, `table` prints the answers.
"""
