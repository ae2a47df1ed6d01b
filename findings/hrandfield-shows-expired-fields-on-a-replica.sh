#!/usr/bin/env bash
# HRANDFIELD on a replica of Redis 8.2 shows fields that have expired
#
# Versions: Redis 8.2.3, Valkey 9.1.2, each a primary with a replica
# One would expect: a replica hides an expired field from all reads until the deletion arrives, as
#   it has hidden expired keys since 3.2; only counts (HLEN, DBSIZE) are late.
# Seen: In Redis 8.2.3 HGET, HGETALL and HSCAN hide it, HRANDFIELD names it, with its value. The
#   primary deletes it when HRANDFIELD comes across it. Valkey hides it everywhere.
# Source: The HPEXPIRE and HRANDFIELD pages do not mention it; the replication page says that replicas
#   hide what has expired. Pull request 13348 of redis/redis: HRANDFIELD deletes the expired fields
#   first instead of skipping them, and a replica does not delete.
# Topic: Replicas
# Matters to: docs/replicas.md (effects: keys expire on a replica at the same time).
set -euo pipefail
source "$(dirname "$0")/lib.sh"
servers redis8 valkey9

scenes() {
    local name primary
    for name in redis8 valkey9; do
        start "$name" --repl-diskless-sync-delay 0
        primary=$port
        start "$name" --replicaof "127.0.0.1 $primary"
        await is_linked "$port"
        script "$name" "$primary" "$port" <<'PY'
import sys, time, resp
name, primary, replica = sys.argv[1], resp.Client(sys.argv[2]), resp.Client(sys.argv[3])
primary("DEBUG SET-ACTIVE-EXPIRE 0")
primary("HSET cart apple 1 pear 2")
primary("HPEXPIRE cart 20 FIELDS 1 apple")
assert primary("WAIT 1 5000") == 1
time.sleep(0.2)
print(name)
for text, node in ("replica", replica), ("primary", primary):
    for command in "HGET cart apple", "HGETALL cart", "HSCAN cart 0", "HRANDFIELD cart 9 WITHVALUES":
        print(f"  {text}, {command}:", node(command))
PY
    done
}

is_linked() { ask "$1" INFO replication | grep -q master_link_status:up; }

finding scenes <<'SEEN'
redis8
  replica, HGET cart apple: None
  replica, HGETALL cart: ['pear', '2']
  replica, HSCAN cart 0: ['0', ['pear', '2']]
  replica, HRANDFIELD cart 9 WITHVALUES: ['apple', '1', 'pear', '2']
  primary, HGET cart apple: None
  primary, HGETALL cart: ['pear', '2']
  primary, HSCAN cart 0: ['0', ['pear', '2']]
  primary, HRANDFIELD cart 9 WITHVALUES: ['pear', '2']
valkey9
  replica, HGET cart apple: None
  replica, HGETALL cart: ['pear', '2']
  replica, HSCAN cart 0: ['0', ['pear', '2']]
  replica, HRANDFIELD cart 9 WITHVALUES: ['pear', '2']
  primary, HGET cart apple: None
  primary, HGETALL cart: ['pear', '2']
  primary, HSCAN cart 0: ['0', ['pear', '2']]
  primary, HRANDFIELD cart 9 WITHVALUES: ['pear', '2']
SEEN
