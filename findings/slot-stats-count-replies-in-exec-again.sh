#!/usr/bin/env bash
# CLUSTER SLOT-STATS counts the replies of a transaction again and again, and those of a script only inside
#
# Versions: Redis 8.2.3, Valkey 9.1.2: one node that owns all slots
# One would expect: network-bytes-out of a slot is what its commands have sent to clients, as the name says:
#   a transaction counts as many bytes as EXEC's reply has, and a script as many as its own reply.
# Seen: Both servers count after each command of a transaction all of EXEC's reply so far, and at the end the
#   whole of it once more: 100 GETs of 100 bytes are 556,806 bytes where 10,806 go over the network. A
#   script that calls a command is not counted itself, with neither its request nor its time nor its reply;
#   the replies that it has read inside the server are.
# Source: The page of CLUSTER SLOT-STATS speaks of bytes and does not mention EXEC. src/cluster_slot_stats.c adds
#   the client's net_output_bytes_curr_cmd after every call, and only src/networking.c sets it to 0.
# Topic: Cluster tools
# Matters to: docs/cluster.md (cluster-slot-stats-enabled).
set -euo pipefail
source "$(dirname "$0")/lib.sh"
servers redis8 valkey9

scenes() {
    local name
    for name in redis8 valkey9; do
        start "$name" --cluster-enabled yes
        ask "$port" CLUSTER ADDSLOTSRANGE 0 16383 >/dev/null
        await is_up "$port"
        script "$name" "$port" <<'PY'
import sys, resp
name, client = sys.argv[1], resp.Client(sys.argv[2])
client("CONFIG SET cluster-slot-stats-enabled yes")
client("SET", "bar", "x" * 100)
slot = client("CLUSTER KEYSLOT bar")

def counted():
    [[_, stats]] = client(f"CLUSTER SLOT-STATS SLOTSRANGE {slot} {slot}")
    return dict(zip(stats[::2], stats[1::2]))["network-bytes-out"]

print(name)
for count in (1, 10, 100):
    client("CONFIG RESETSTAT")
    client("MULTI")
    for _ in range(count):
        client("GET bar")
    client.send("EXEC")
    reply = client.read()
    sent = len(f"*{count}\r\n") + sum(len(f"$100\r\n{one}\r\n") for one in reply)
    print(f"  EXEC of {count} GETs: {sent} bytes sent, {counted()} counted")
client("CONFIG RESETSTAT")
client("EVAL", "redis.call('get', KEYS[1]) redis.call('get', KEYS[1]) return 1", 1, "bar")
print(f"  EVAL that reads twice and returns 1: 4 bytes sent, {counted()} counted")
PY
    done
}

is_up() { ask "$1" CLUSTER INFO | grep -q cluster_state:ok; }

finding scenes <<'SEEN'
redis8
  EXEC of 1 GETs: 112 bytes sent, 224 counted
  EXEC of 10 GETs: 1085 bytes sent, 7075 counted
  EXEC of 100 GETs: 10806 bytes sent, 556806 counted
  EVAL that reads twice and returns 1: 4 bytes sent, 216 counted
valkey9
  EXEC of 1 GETs: 112 bytes sent, 224 counted
  EXEC of 10 GETs: 1085 bytes sent, 7075 counted
  EXEC of 100 GETs: 10806 bytes sent, 556806 counted
  EVAL that reads twice and returns 1: 4 bytes sent, 216 counted
SEEN
