#!/usr/bin/env bash
# SUBSCRIBE in a transaction: EXEC's array ends too early, or too late
#
# Versions: redis-server 7.0.15, Redis 8.2.3, Valkey 9.1.2
# One would expect: SUBSCRIBE is refused in MULTI, or its confirmations come before or after
#   the reply to EXEC, which has one element per queued command.
# Seen: It is queued. The array is as long as the queue, but SUBSCRIBE writes one confirmation
#   per channel into it. With two channels and a PING, RESP2 closes the array after the
#   channels, and PING's reply stands alone behind it. In RESP3 the confirmations are push
#   frames inside the array: a reader that takes those out of band is short of elements.
# Source: The pub/sub page says that SUBSCRIBE has no reply of its own but a message per channel;
#   the transactions page promises one element per command. src/pubsub.c of 7.0.15,
#   subscribeCommand: allowed in MULTI for backward compatibility; issue 12207 of redis/redis (open).
# Topic: MULTI and EXEC
# Matters to: docs/transactions.md ("Where this page says nothing").
set -euo pipefail
source "$(dirname "$0")/lib.sh"
servers redis7 redis8 valkey9

scenes() {
    on_each redis7 redis8 valkey9 <<'PY'
import sys, time, resp
name, port = sys.argv[1:]
print(name)
for version in "2", "3":
    for channels in "a", "a b":
        own = resp.Client(port)
        own("HELLO " + version)
        own("MULTI")
        assert own("SUBSCRIBE " + channels) == "QUEUED" == own("PING")
        own.send("EXEC")
        time.sleep(0.2)
        data = own.socket.recv(4096).decode()
        print(f"  RESP{version}, SUBSCRIBE {channels}, PING:", " ".join(data.split()))
PY
}

finding scenes <<'SEEN'
redis7
  RESP2, SUBSCRIBE a, PING: *2 *3 $9 subscribe $1 a :1 *2 $4 pong $0
  RESP2, SUBSCRIBE a b, PING: *2 *3 $9 subscribe $1 a :1 *3 $9 subscribe $1 b :2 *2 $4 pong $0
  RESP3, SUBSCRIBE a, PING: *2 >3 $9 subscribe $1 a :1 +PONG
  RESP3, SUBSCRIBE a b, PING: *2 >3 $9 subscribe $1 a :1 >3 $9 subscribe $1 b :2 +PONG
redis8
  RESP2, SUBSCRIBE a, PING: *2 *3 $9 subscribe $1 a :1 *2 $4 pong $0
  RESP2, SUBSCRIBE a b, PING: *2 *3 $9 subscribe $1 a :1 *3 $9 subscribe $1 b :2 *2 $4 pong $0
  RESP3, SUBSCRIBE a, PING: *2 >3 $9 subscribe $1 a :1 +PONG
  RESP3, SUBSCRIBE a b, PING: *2 >3 $9 subscribe $1 a :1 >3 $9 subscribe $1 b :2 +PONG
valkey9
  RESP2, SUBSCRIBE a, PING: *2 *3 $9 subscribe $1 a :1 *2 $4 pong $0
  RESP2, SUBSCRIBE a b, PING: *2 *3 $9 subscribe $1 a :1 *3 $9 subscribe $1 b :2 *2 $4 pong $0
  RESP3, SUBSCRIBE a, PING: *2 >3 $9 subscribe $1 a :1 +PONG
  RESP3, SUBSCRIBE a b, PING: *2 >3 $9 subscribe $1 a :1 >3 $9 subscribe $1 b :2 +PONG
SEEN
