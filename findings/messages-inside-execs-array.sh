#!/usr/bin/env bash
# Redis 7.0 writes a message to its own sender into EXEC's array
#
# Versions: redis-server 7.0.15, Redis 8.2.3, Valkey 9.1.2
# One would expect: a RESP3 connection that is subscribed and publishes in a transaction, or
#   listens to keyspace events and writes in one, gets the message before or after EXEC's reply.
# Seen: In 7.0.15 the push frame stands inside the array, between its header and its elements, so
#   that a reader of nested replies has to expect pushes at any depth. The newer servers write it
#   after the array. Invalidations of client-side caching come after it in all three.
# Source: The RESP page: push data may come before or after any other type, but not in its
#   middle. Pull request 12326 of redis/redis (in 7.2): pushes wait for the end of the command.
# Topic: MULTI and EXEC
# Matters to: docs/transactions.md; docs/cluster.md (dialect redis7).
set -euo pipefail
source "$(dirname "$0")/lib.sh"
servers redis7 redis8 valkey9

scenes() {
    local name
    for name in redis7 redis8 valkey9; do
        start "$name" --notify-keyspace-events KEA
        script "$name" "$port" <<'PY'
import sys, time, resp
name, port = sys.argv[1:]
print(name)
for text, before, command in (
    ("PUBLISH", "SUBSCRIBE news", "PUBLISH news hi"),
    ("keyspace event", "SUBSCRIBE __keyspace@0__:k", "SET k 1"),
    ("invalidation", "CLIENT TRACKING ON", "SET k 2"),
):
    own = resp.Client(port)
    own("HELLO 3")
    own(before)
    own("GET k")
    for queued in "MULTI", command, "ECHO end":
        own(queued)
    own.send("EXEC")
    time.sleep(0.2)
    print(f"  {text}:", " ".join(own.socket.recv(4096).decode().split()))
PY
    done
}

finding scenes <<'SEEN'
redis7
  PUBLISH: *2 >3 $7 message $4 news $2 hi :1 $3 end
  keyspace event: *2 >3 $7 message $16 __keyspace@0__:k $3 set +OK $3 end
  invalidation: *2 +OK $3 end >2 $10 invalidate *1 $1 k
redis8
  PUBLISH: *2 :1 $3 end >3 $7 message $4 news $2 hi
  keyspace event: *2 +OK $3 end >3 $7 message $16 __keyspace@0__:k $3 set
  invalidation: *2 +OK $3 end >2 $10 invalidate *1 $1 k
valkey9
  PUBLISH: *2 :1 $3 end >3 $7 message $4 news $2 hi
  keyspace event: *2 +OK $3 end >3 $7 message $16 __keyspace@0__:k $3 set
  invalidation: *2 +OK $3 end >2 $10 invalidate *1 $1 k
SEEN
