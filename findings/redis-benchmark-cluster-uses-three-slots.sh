#!/usr/bin/env bash
# redis-benchmark --cluster puts a million random keys into one slot per node
#
# Versions: redis-benchmark and redis-server 7.0.15
# One would expect: with -r 1000000 the keys are all over the 16384 slots, as an application's.
# Seen: Each node has thousands of keys, all in the first slot that it owns: {tag} is replaced
#   by the tag of one slot per node, and that changes only when the slot map does. Anything that
#   depends on slots (per-slot dictionaries and statistics, migration, sharded channels) is
#   measured on three of them.
# Source: redis-benchmark --help: {tag} is there to reach the right node. src/redis-benchmark.c of
#   7.0.15, setClusterKeyHashTag: current_slot_index.
# Topic: Load tools
# Matters to: docs/bench.md; hot_slots of docs/proof.md.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
servers redis7
command -v redis-benchmark >/dev/null || stuck 'redis-benchmark is missing: apt-get install redis-tools'

scenes() {
    cluster redis7
    redis-benchmark -p "${nodes[0]}" --cluster -t set -n 30000 -r 1000000 -q >/dev/null 2>&1
    script "${nodes[@]}" <<'PY'
import sys, resp
for number, port in enumerate(sys.argv[1:], 1):
    own = resp.Client(port)
    keys = own("DBSIZE")
    for slot in range(16384):
        own.send("CLUSTER", "COUNTKEYSINSLOT", slot)
    slots = [slot for slot in range(16384) if own.read()]
    print(f"node {number}:", "more than 5000 keys" if keys > 5000 else f"{keys} keys", "in the slots", slots)
PY
}

finding scenes <<'SEEN'
node 1: more than 5000 keys in the slots [0]
node 2: more than 5000 keys in the slots [5461]
node 3: more than 5000 keys in the slots [10923]
SEEN
