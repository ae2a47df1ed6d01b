#!/usr/bin/env bash
# WATCH of a stream does not see its consumer groups
#
# Versions: redis-server 7.0.15, Redis 8.2.3, Valkey 9.1.2
# One would expect: a transaction that watches a stream aborts if another consumer reads,
#   claims or acknowledges an entry in between: these are write commands, they go to the
#   append-only file and to replicas, and the groups are part of the key.
# Seen: EXEC runs after XREADGROUP, XACK, XCLAIM, XAUTOCLAIM and every XGROUP command on an
#   existing stream, also when a group has been destroyed. Only entries that come or go count.
# Source: The transactions page says that any modification counts. src/t_stream.c: these
#   commands count the key as dirty and send events, but do not call signalModifiedKey.
# Topic: WATCH
# Matters to: docs/transactions.md (guarantee 3); conflicts of docs/proof.md; a job queue on
#   streams (docs/job-queues.md) cannot guard "nobody has taken it" with WATCH.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
servers redis7 redis8 valkey9

scenes() {
    on_each redis7 redis8 valkey9 <<'PY'
import sys, resp
name, port = sys.argv[1:]
own, other = resp.Client(port), resp.Client(port)
committed, aborted = [], []
for before, command in (
    (None, "XREADGROUP GROUP g ann STREAMS jobs >"),
    ("ann", "XACK jobs g 1-1"),
    ("ann", "XCLAIM jobs g bob 0 1-1"),
    ("ann", "XAUTOCLAIM jobs g bob 0 0"),
    (None, "XGROUP CREATE jobs more 0"),
    (None, "XGROUP CREATECONSUMER jobs g bob"),
    ("ann", "XGROUP DELCONSUMER jobs g ann"),
    (None, "XGROUP SETID jobs g $"),
    (None, "XGROUP DESTROY jobs g"),
    (None, "XADD jobs 2-1 task mail"),
    (None, "XDEL jobs 1-1"),
    (None, "XTRIM jobs MAXLEN 0"),
):
    own("DEL jobs")
    own("XADD jobs 1-1 task mail")
    own("XGROUP CREATE jobs g 0")
    if before:
        own("XREADGROUP GROUP g ann STREAMS jobs >")
    own("WATCH jobs")
    reply = other(command)
    assert reply and not str(reply).startswith("-"), reply
    own("MULTI")
    own("SET answer 1")
    words = command.split(" ")
    shown = " ".join(words[:2]) if words[0] == "XGROUP" else words[0]
    (aborted if own("EXEC") is None else committed).append(shown)
print(name)
print("  EXEC runs after:", ", ".join(committed))
print("  EXEC is nil after:", ", ".join(aborted))
PY
}

finding scenes <<'SEEN'
redis7
  EXEC runs after: XREADGROUP, XACK, XCLAIM, XAUTOCLAIM, XGROUP CREATE, XGROUP CREATECONSUMER, XGROUP DELCONSUMER, XGROUP SETID, XGROUP DESTROY
  EXEC is nil after: XADD, XDEL, XTRIM
redis8
  EXEC runs after: XREADGROUP, XACK, XCLAIM, XAUTOCLAIM, XGROUP CREATE, XGROUP CREATECONSUMER, XGROUP DELCONSUMER, XGROUP SETID, XGROUP DESTROY
  EXEC is nil after: XADD, XDEL, XTRIM
valkey9
  EXEC runs after: XREADGROUP, XACK, XCLAIM, XAUTOCLAIM, XGROUP CREATE, XGROUP CREATECONSUMER, XGROUP DELCONSUMER, XGROUP SETID, XGROUP DESTROY
  EXEC is nil after: XADD, XDEL, XTRIM
SEEN
