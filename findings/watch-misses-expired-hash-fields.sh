#!/usr/bin/env bash
# WATCH of a hash does not see that one of its fields has expired
#
# Versions: Redis 8.2.3, Valkey 9.1.2
# One would expect: an expired field counts as a change, as an expired key does: EXEC checks
#   that no watched key has expired, removed or not.
# Seen: EXEC runs, and finds the field gone, until the background cycle has removed it. In
#   between a read by another client makes the difference in Redis (it removes the field, and
#   EXEC replies with nil) and none in Valkey.
# Source: The transactions page: expiry by the server counts as a change. src/multi.c,
#   isWatchedKeyExpired: it looks at the expiry of keys only.
# Topic: WATCH
# Matters to: docs/transactions.md (guarantee 3, "expiry itself").
set -euo pipefail
source "$(dirname "$0")/lib.sh"
servers redis8 valkey9

scenes() {
    on_each redis8 valkey9 <<'PY'
import sys, time, resp
name, port = sys.argv[1:]
own, other = resp.Client(port), resp.Client(port)
print(name)

def scene(text, expire, key, between=None):
    own("DEL cart price")
    own("HSET cart apple 1 pear 2")
    own("SET price 5")
    own(expire)
    own("WATCH", key)
    time.sleep(0.1)
    if between:
        between()
    own("MULTI")
    own("HGET cart apple")
    print(" ", text, "->", own("EXEC"))

own("DEBUG SET-ACTIVE-EXPIRE 0")
scene("key expired, not removed", "PEXPIRE price 20", "price")
scene("field expired, not removed", "HPEXPIRE cart 20 FIELDS 1 apple", "cart")
scene("the same, read by another client", "HPEXPIRE cart 20 FIELDS 1 apple", "cart", lambda: other("HGET cart apple"))

def cycle():
    own("DEBUG SET-ACTIVE-EXPIRE 1")
    time.sleep(1)
scene("the same, removed by the background cycle", "HPEXPIRE cart 20 FIELDS 1 apple", "cart", cycle)
PY
}

finding scenes <<'SEEN'
redis8
  key expired, not removed -> None
  field expired, not removed -> [None]
  the same, read by another client -> None
  the same, removed by the background cycle -> None
valkey9
  key expired, not removed -> None
  field expired, not removed -> [None]
  the same, read by another client -> [None]
  the same, removed by the background cycle -> None
SEEN
