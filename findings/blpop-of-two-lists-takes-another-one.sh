#!/usr/bin/env bash
# BLPOP a b takes from a or from b, depending on the version
#
# Versions: redis-server 7.0.15, Redis 8.2.3, Valkey 9.1.2
# One would expect: when a transaction pushes to b and then to a, a client blocked in BLPOP a b
#   gets b's element: the list that was written first, as the BLPOP page had it until 2025.
# Seen: That holds in 7.0.15. The newer servers run the command again when the transaction is
#   over, so that the first list in the command wins, as if it had not blocked. XREAD of two
#   streams replies with one stream in 7.0.15 and with both in the newer servers.
# Source: The BLPOP page, "What key is served first?", and issue 2377 of redis/docs on it. Pull request
#   11012 of redis/redis (in 7.2): blocked commands are processed again.
# Topic: Blocking commands
# Matters to: docs/job-queues.md (priorities by the order of the lists); docs/transactions.md.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
servers redis7 redis8 valkey9

scenes() {
    on_each redis7 redis8 valkey9 <<'PY'
import sys, time, resp
name, port = sys.argv[1:]
own = resp.Client(port)

def blocked(command):
    worker = resp.Client(port)
    worker.send(command)
    while "blocked_clients:1" not in own("INFO clients"):
        time.sleep(0.01)
    return worker

print(name)
worker = blocked("BLPOP high low 0")
for command in "MULTI", "RPUSH low slow-job", "RPUSH high urgent-job", "EXEC":
    own(command)
print("  BLPOP high low, low is pushed first:", worker.read())
worker = blocked("XREAD BLOCK 0 STREAMS high-events low-events $ $")
for command in "MULTI", "XADD low-events 1-1 f v", "XADD high-events 1-1 f v", "EXEC":
    own(command)
print("  XREAD of two streams:", [stream for stream, _ in worker.read()])
PY
}

finding scenes <<'SEEN'
redis7
  BLPOP high low, low is pushed first: ['low', 'slow-job']
  XREAD of two streams: ['low-events']
redis8
  BLPOP high low, low is pushed first: ['high', 'urgent-job']
  XREAD of two streams: ['high-events', 'low-events']
valkey9
  BLPOP high low, low is pushed first: ['high', 'urgent-job']
  XREAD of two streams: ['high-events', 'low-events']
SEEN
