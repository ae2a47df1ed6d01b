#!/usr/bin/env bash
# XDELEX DELREF of an entry that is gone clears its references on the primary only
#
# Versions: Redis 8.2.3
# One would expect: a replica has what its primary has: a reference that DELREF takes away is gone on both.
# Seen: XDEL leaves an entry pending. XDELEX with DELREF then replies -1, as there is no entry, and takes it from the
#   pending entries all the same, on the primary alone: nothing is replicated. The replica keeps it, and after a
#   failover a consumer that reads its pending entries gets it. Redis 8.10.2 does the same.
# Source: The XDELEX page: DELREF deletes the entry and all references to it.
# Topic: Replicas
# Matters to: docs/replicas.md.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
servers redis8

scenes() {
    local primary
    start redis8 --repl-diskless-sync-delay 0
    primary=$port
    start redis8 --replicaof "127.0.0.1 $primary"
    await is_linked "$port"
    script "$primary" "$port" <<'PY'
import sys, resp
primary, replica = resp.Client(sys.argv[1]), resp.Client(sys.argv[2])
primary("XADD jobs 1-1 f v")
primary("XADD jobs 2-1 f v")
primary("XGROUP CREATE jobs workers 0")
primary("XREADGROUP GROUP workers ann STREAMS jobs >")
primary("XDEL jobs 1-1")
print("XDELEX:", primary("XDELEX jobs DELREF IDS 1 1-1"))
primary("XADD jobs 3-1 f v")
assert primary("WAIT 1 5000") == 1
for text, node in ("primary", primary), ("replica", replica):
    print(f"{text}, pending: {node('XPENDING jobs workers')}")
PY
}

is_linked() { ask "$1" INFO replication | grep -q master_link_status:up; }

finding scenes <<'SEEN'
XDELEX: [-1]
primary, pending: [1, '2-1', '2-1', [['ann', '1']]]
replica, pending: [2, '1-1', '2-1', [['ann', '2']]]
SEEN
