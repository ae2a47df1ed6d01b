#!/usr/bin/env bash
# A replica that Valkey 9.1 promotes drops its own subscribers' shard channels
#
# Versions: redis-server 7.0.15, Valkey 9.1.2: a cluster of three masters and one replica
# One would expect: a failover ends the subscriptions at the old master, which serves the slot no
#   more. At the replica that is promoted nothing changes for a client that is subscribed to a
#   channel of the slot: the node goes on to serve it, and now owns it.
# Seen: In Redis 7.0 that is so. In Valkey 9.1 the promoted node sends its subscribers sunsubscribe,
#   too, and the next SPUBLISH to it reaches nobody. The client has to subscribe again where it is.
# Source: The SSUBSCRIBE and pub/sub pages speak of slots that move to another node. src/cluster_legacy.c
#   of 9.1, clusterDelSlot, asks whether the node is of the same shard as the slot's last owner.
# Topic: Replicas
# Matters to: docs/cluster.md (shard channels at a failover).
set -euo pipefail
source "$(dirname "$0")/lib.sh"
servers redis7 valkey9

scenes() {
    local name replica
    for name in redis7 valkey9; do
        cluster "$name"
        start "$name" --cluster-enabled yes --cluster-node-timeout 5000
        replica=$port
        redis-cli --cluster add-node "127.0.0.1:$replica" "127.0.0.1:${nodes[0]}" --cluster-slave \
            --cluster-master-id "$(ask "${nodes[0]}" CLUSTER MYID)" >"$work/add" || stuck 'could not add a replica'
        await is_linked "$replica"
        script "$name" "${nodes[0]}" "$replica" <<'PY'
import sys, time, resp
name, master, replica = sys.argv[1], resp.Client(sys.argv[2]), resp.Client(sys.argv[3])
subscribers = [("old master", resp.Client(sys.argv[2])), ("promoted replica", resp.Client(sys.argv[3]))]
for _, subscriber in subscribers:
    subscriber("SSUBSCRIBE bar")
while replica("CLUSTER FAILOVER") != "OK":
    time.sleep(0.1)
while str(replica("SPUBLISH bar x")).startswith("-") or "role:master" not in replica("INFO replication"):
    time.sleep(0.1)
while "role:slave" not in master("INFO replication"):
    time.sleep(0.1)
time.sleep(0.3)
print(name)
for text, subscriber in subscribers:
    ended = False
    while (message := subscriber.more()) is not None:
        ended |= message[0] == "sunsubscribe"
    print(f"  at the {text}:", "sunsubscribe" if ended else "still subscribed")
print("  SPUBLISH there reaches:", replica("SPUBLISH bar y"))
PY
    done
}

is_linked() { ask "$1" INFO replication | grep -q master_link_status:up; }

finding scenes <<'SEEN'
redis7
  at the old master: sunsubscribe
  at the promoted replica: still subscribed
  SPUBLISH there reaches: 1
valkey9
  at the old master: sunsubscribe
  at the promoted replica: sunsubscribe
  SPUBLISH there reaches: 0
SEEN
