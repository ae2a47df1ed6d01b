#!/usr/bin/env bash
# redis-benchmark --cluster counts refused commands as throughput
#
# Versions: redis-benchmark and redis-server 7.0.15
# One would expect: it ends at the first error reply, as it does without --cluster.
# Seen: an MSET of a key with {tag} and one without is refused with CROSSSLOT every time. No key
#   is written, but it reports its requests per second and ends with status 0. The same error
#   without --cluster ends it with status 1.
# Source: src/redis-benchmark.c of 7.0.15, readHandler: in a cluster, with {tag} in the command,
#   only MOVED, ASK and CLUSTERDOWN are looked at.
# Topic: Load tools
# Matters to: docs/bench.md (invariants at the end); cross-slot-command.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
servers redis7
command -v redis-benchmark >/dev/null || stuck 'redis-benchmark is missing: apt-get install redis-tools'

# measure TEXT OPTIONS...: what redis-benchmark reports of 2000 such MSET.
measure() {
    local text=$1 status=0 node count keys=0 refused=0
    shift
    for node in "${nodes[@]}"; do ask "$node" CONFIG RESETSTAT >/dev/null; done
    redis-benchmark -p "${nodes[0]}" -n 2000 -q "$@" >"$work/report" 2>&1 || status=$?
    for node in "${nodes[@]}"; do
        keys=$((keys + $(ask "$node" DBSIZE)))
        count=$(ask "$node" INFO errorstats | sed -n 's/.*CROSSSLOT:count=\([0-9]*\).*/\1/p')
        refused=$((refused + ${count:-0}))
    done
    echo "$text:"
    tr '\r' '\n' <"$work/report" | sed -n -e 's/.*: [0-9.]* requests per second.*/  reports its requests per second/p' \
        -e 's/.*\(CROSSSLOT .*\)/  reports: \1/p'
    echo "  status $status, keys written: $keys, refused: $( ((refused >= 2000)) && echo '2000 or more' || echo fewer)"
}

scenes() {
    cluster redis7
    measure 'with --cluster' --cluster MSET 'stock:{tag}' 1 price 1
    measure 'without' MSET 'stock:{tag}' 1 price 1
}

finding scenes <<'SEEN'
with --cluster:
  reports its requests per second
  status 0, keys written: 0, refused: 2000 or more
without:
  reports: CROSSSLOT Keys in request don't hash to the same slot
  status 1, keys written: 0, refused: fewer
SEEN
