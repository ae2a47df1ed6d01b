#!/usr/bin/env bash
# Reading a HyperLogLog aborts one's own transaction
#
# Versions: redis-server 7.0.15, Redis 8.2.3, Valkey 9.1.2
# One would expect: WATCH, PFCOUNT, MULTI, ..., EXEC (the usual read, decide, write) commits
#   if nobody else writes: COMMAND lists PFCOUNT as readonly.
# Seen: The first PFCOUNT after each change stores the cardinality in the value and touches
#   the key. EXEC replies with nil, whether the own connection or another one counted; the next
#   attempt commits. PFCOUNT of several keys stores nothing and touches nothing.
# Source: The PFCOUNT page says that it can modify the HyperLogLog; the transactions page does
#   not mention it. src/hyperloglog.c of 7.0.15, pfcountCommand: signalModifiedKey.
# Topic: WATCH
# Matters to: docs/transactions.md (what touches a key); conflicts of docs/proof.md, whose
#   winner can be a command flagged as a read.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
servers redis7 redis8 valkey9

scenes() {
    on_each redis7 redis8 valkey9 <<'PY'
import sys, resp
name, port = sys.argv[1:]
own, other = resp.Client(port), resp.Client(port)
flags = own("COMMAND INFO PFCOUNT")[0][2]
print(name, "PFCOUNT is", " ".join(flag for flag in flags if flag in ("readonly", "write")))

def attempt(text, reader, command="PFCOUNT visitors"):
    own("WATCH visitors")
    count = reader(command)
    own("MULTI")
    own("SET", "report", count)
    print(" ", text, "->", own("EXEC"))

own("PFADD visitors ann bob")
attempt("own PFCOUNT", own)
attempt("own PFCOUNT again", own)
own("PFADD visitors cem")
attempt("other client's PFCOUNT", other)
own("PFADD visitors dan")
attempt("other client's PFCOUNT of two keys", other, "PFCOUNT visitors guests")
PY
}

finding scenes <<'SEEN'
redis7 PFCOUNT is readonly
  own PFCOUNT -> None
  own PFCOUNT again -> ['OK']
  other client's PFCOUNT -> None
  other client's PFCOUNT of two keys -> ['OK']
redis8 PFCOUNT is readonly
  own PFCOUNT -> None
  own PFCOUNT again -> ['OK']
  other client's PFCOUNT -> None
  other client's PFCOUNT of two keys -> ['OK']
valkey9 PFCOUNT is readonly
  own PFCOUNT -> None
  own PFCOUNT again -> ['OK']
  other client's PFCOUNT -> None
  other client's PFCOUNT of two keys -> ['OK']
SEEN
