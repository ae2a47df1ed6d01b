#!/usr/bin/env bash
# A replica's keyspace events have other names, and another number, than its primary's
#
# Versions: redis-server 7.0.15, Redis 8.2.3, Valkey 9.1.2, each a primary with a replica
# One would expect: the events of a replica are those of its primary, since replication replays the
#   writes: who listens at a replica to relieve the primary hears incrbyfloat, spop and expired.
# Seen: A replica publishes what was replicated to it, which is another command wherever the
#   outcome would not repeat: set for INCRBYFLOAT, hset for HINCRBYFLOAT, srem for SPOP, del for a
#   key that expired. One SPOP of three members is three events at a replica of Redis 7.0 and one
#   at that of 8.2 and Valkey 9.1. An LTRIM that removes nothing is an event at the primary alone.
# Source: The page on keyspace notifications says that events are node-specific and that expired
#   is sent when a key is deleted; of replicas' names it has nothing. src/t_string.c
#   (incrbyfloatCommand), src/t_set.c (spopWithCountCommand) rewrite the command that is replicated.
# Topic: Replicas
# Matters to: docs/cluster.md (keyspace events of replicas), docs/replicas.md.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
servers redis7 redis8 valkey9

scenes() {
    local name primary
    for name in redis7 redis8 valkey9; do
        start "$name" --repl-diskless-sync-delay 0 --notify-keyspace-events AE
        primary=$port
        start "$name" --replicaof "127.0.0.1 $primary" --notify-keyspace-events AE
        await is_linked "$port"
        script "$name" "$primary" "$port" <<'PY'
import sys, time, resp
name, primary = sys.argv[1], resp.Client(sys.argv[2])
listeners = [resp.Client(port) for port in sys.argv[2:]]
for listener in listeners:
    listener("PSUBSCRIBE __keyevent*")
print(name)

def events(listener):
    heard = []
    while True:
        _, _, channel, key = listener.read()
        if key == "end":
            return " ".join(heard) or "nothing"
        heard.append(channel.split(":")[1])

primary("SET sum 1")
primary("HSET hash sum 1")
primary("SADD set a b c d")
primary("RPUSH list a b")
primary("SET end 0")
for listener in listeners:
    events(listener)
for command in ("INCRBYFLOAT sum 0.5", "HINCRBYFLOAT hash sum 0.5", "SPOP set 3", "LTRIM list 0 -1", "PEXPIRE sum 1"):
    primary(command)
    if command.startswith("PEXPIRE"):
        time.sleep(0.05)
        primary("GET sum")
    primary("SET end 1")
    at_primary, at_replica = map(events, listeners)
    print(f"  {command}: {at_primary} at the primary, {at_replica} at the replica")
PY
    done
}

is_linked() { ask "$1" INFO replication | grep -q master_link_status:up; }

finding scenes <<'SEEN'
redis7
  INCRBYFLOAT sum 0.5: incrbyfloat at the primary, set at the replica
  HINCRBYFLOAT hash sum 0.5: hincrbyfloat at the primary, hset at the replica
  SPOP set 3: spop at the primary, srem srem srem at the replica
  LTRIM list 0 -1: ltrim at the primary, nothing at the replica
  PEXPIRE sum 1: expire expired at the primary, expire del at the replica
redis8
  INCRBYFLOAT sum 0.5: incrbyfloat at the primary, set at the replica
  HINCRBYFLOAT hash sum 0.5: hincrbyfloat at the primary, hset at the replica
  SPOP set 3: spop at the primary, srem at the replica
  LTRIM list 0 -1: ltrim at the primary, nothing at the replica
  PEXPIRE sum 1: expire expired at the primary, expire del at the replica
valkey9
  INCRBYFLOAT sum 0.5: incrbyfloat at the primary, set at the replica
  HINCRBYFLOAT hash sum 0.5: hincrbyfloat at the primary, hset at the replica
  SPOP set 3: spop at the primary, srem at the replica
  LTRIM list 0 -1: ltrim at the primary, nothing at the replica
  PEXPIRE sum 1: expire expired at the primary, expire del at the replica
SEEN
