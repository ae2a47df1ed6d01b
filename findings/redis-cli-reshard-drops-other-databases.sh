#!/usr/bin/env bash
# redis-cli moves a slot of a Valkey 9 cluster, and its keys in database 1 are gone
#
# Versions: redis-cli 7.0.15 on a cluster of Valkey 9.1.2 with cluster-databases 16
# One would expect: the keys of all databases move, or the reshard fails, or they stay on the old
#   node: a slot is a slot whatever the database, and CLUSTER COUNTKEYSINSLOT counts its keys.
# Seen: COUNTKEYSINSLOT and GETKEYSINSLOT see the selected database only. redis-cli moves what it
#   sees, database 0, and gives the slot to the new node. As soon as the old one hears of that,
#   it deletes the rest. Sometimes it is asked first and objects that it still holds keys (redis-cli
#   ends with 1), which changes nothing; else the status is 0.
# Source: The pages of both commands speak of the slot alone; issue 1681 of valkey-io/valkey and the
#   open pull request 242 of valkey-io/valkey-doc have "the selected database".
#   src/redis-cli.c of 7.0.15, clusterManagerMigrateKeysInSlot.
# Topic: Cluster tools
# Matters to: docs/cluster.md (resharding, dialect valkey9); other-database.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
servers valkey9
command -v redis-cli >/dev/null || stuck 'redis-cli is missing: apt-get install redis-tools'
redis-cli --version >&2

scenes() {
    cluster valkey9 --cluster-databases 16
    # {06S} is in slot 0, of the first node, which redis-cli moves first.
    script "${nodes[0]}" <<'PY'
import sys, resp
own = resp.Client(sys.argv[1])
for database, keys in (0, ["{06S}:cart"]), (1, ["{06S}:cart", "{06S}:user"]):
    own("SELECT", database)
    for key in keys:
        own("SET", key, f"in {database}")
    print(f"database {database}: keys in slot 0:", own("CLUSTER COUNTKEYSINSLOT 0"), own("CLUSTER GETKEYSINSLOT 0 9"))
PY
    redis-cli --cluster reshard "127.0.0.1:${nodes[0]}" --cluster-from "$(ask "${nodes[0]}" CLUSTER MYID)" \
        --cluster-to "$(ask "${nodes[1]}" CLUSTER MYID)" --cluster-slots 1 --cluster-yes >"$work/reshard" 2>&1 || true
    await is_moved
    script "${nodes[@]:0:2}" <<'PY'
import sys, resp
for text, port in zip(("old", "new"), sys.argv[1:]):
    own = resp.Client(port)
    for database in 0, 1:
        own("SELECT", database)
        print(text, f"node, database {database}:", sorted(own("KEYS *")))
PY
}

is_moved() { [[ $(ask "${nodes[0]}" GET '{06S}:cart') == -MOVED* ]]; }

finding scenes <<'SEEN'
database 0: keys in slot 0: 1 ['{06S}:cart']
database 1: keys in slot 0: 2 ['{06S}:cart', '{06S}:user']
old node, database 0: []
old node, database 1: []
new node, database 0: ['{06S}:cart']
new node, database 1: []
SEEN
