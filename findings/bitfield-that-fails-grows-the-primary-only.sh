#!/usr/bin/env bash
# A BITFIELD whose only write overflows under FAIL makes the key, but on the primary alone
#
# Versions: redis-server 7.0.15, Redis 8.2.3, Valkey 9.1.2
# One would expect: nothing changes: the reply is nil, and no key comes into being. If one does, then on
#   replicas too, and a transaction that watches it is aborted.
# Seen: the key is there afterwards, with zeros up to the field, and an existing string grows; no WATCH
#   sees it, and no replica gets it. A SETBIT in it later is replicated as itself, and leaves a shorter
#   string on the replica: STRLEN, GET and BITCOUNT from the end differ from then on.
# Source: The BITFIELD page says that under FAIL nothing is done on overflow. src/bitops.c,
#   bitfieldGeneric grows the string before the first subcommand runs, but counts and signals only
#   the subcommands that have written.
# Topic: Replicas
# Matters to: docs/transactions.md (guarantee 3), docs/replicas.md.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
servers redis7 redis8 valkey9

is_linked() { ask "$1" INFO replication | grep -q master_link_status:up; }

scenes() {
    local name primary
    for name in redis7 redis8 valkey9; do
        start "$name" --repl-diskless-sync-delay 0
        primary=$port
        start "$name" --replicaof "127.0.0.1 $primary"
        await is_linked "$port"
        script "$name" "$primary" "$port" <<'PY'
import sys, resp
name, ports = sys.argv[1], sys.argv[2:]
primary, other, replica = resp.Client(ports[0]), resp.Client(ports[0]), resp.Client(ports[1])
print(name)

def lengths(key):
    primary("SET end 1")
    assert primary("WAIT 1 10000") == 1
    return f"{primary('STRLEN', key)} bytes on the primary, {replica('STRLEN', key)} on the replica"

for text in None, "abc":
    key = "missing" if text is None else "short"
    if text:
        primary("SET", key, text)
    primary("WATCH", key)
    failed = other("BITFIELD", key, "OVERFLOW", "FAIL", "INCRBY", "u2", 100, 5)
    primary("MULTI")
    primary("PING")
    guard = "aborts" if primary("EXEC") is None else "runs"
    print(f"  {key}: BITFIELD {failed}, EXEC {guard}, {lengths(key)}")
    primary("SETBIT", key, 7, 1)
    print(f"  {key}, after SETBIT 7: {lengths(key)}")
PY
    done
}

finding scenes <<'SEEN'
redis7
  missing: BITFIELD [None], EXEC runs, 13 bytes on the primary, 0 on the replica
  missing, after SETBIT 7: 13 bytes on the primary, 1 on the replica
  short: BITFIELD [None], EXEC runs, 13 bytes on the primary, 3 on the replica
  short, after SETBIT 7: 13 bytes on the primary, 3 on the replica
redis8
  missing: BITFIELD [None], EXEC runs, 13 bytes on the primary, 0 on the replica
  missing, after SETBIT 7: 13 bytes on the primary, 1 on the replica
  short: BITFIELD [None], EXEC runs, 13 bytes on the primary, 3 on the replica
  short, after SETBIT 7: 13 bytes on the primary, 3 on the replica
valkey9
  missing: BITFIELD [None], EXEC runs, 13 bytes on the primary, 0 on the replica
  missing, after SETBIT 7: 13 bytes on the primary, 1 on the replica
  short: BITFIELD [None], EXEC runs, 13 bytes on the primary, 3 on the replica
  short, after SETBIT 7: 13 bytes on the primary, 3 on the replica
SEEN
