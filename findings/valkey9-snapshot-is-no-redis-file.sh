#!/usr/bin/env bash
# A snapshot of Valkey 9 does not begin with REDIS, and a DUMP of it fits no Redis
#
# Versions: Valkey 9.1.2, redis-server 7.0.15, Redis 8.2.3; rdb-py 0.4.0, rdbtools 0.1.15 (PyPI)
# One would expect: an RDB file begins with REDIS and four digits, whatever wrote it, and a plain
#   string, which is stored as ever, can be restored from Valkey in Redis and back.
# Seen: The file begins with VALKEY080, even if all it has is one string; readers that look for the
#   five letters say that it is no RDB file. DUMP's version is 80 too: Redis refuses it, and
#   Valkey refuses that of Redis 8.2 (version 12) while it takes that of 7.0 (10). So MIGRATE
#   between the two families works from an old Redis to Valkey only.
# Source: issue 645 and pull request 2422 of valkey-io/valkey; src/rdb.c of 9.1, rdbSaveRio. The RDB
#   parsers' own messages.
# Topic: MONITOR, AOF and RDB
# Matters to: docs/proof.md (input format rdb); docs/cluster.md (DUMP and RESTORE, copying from
#   and to a real server).
set -euo pipefail
source "$(dirname "$0")/lib.sh"
servers redis7 redis8 valkey9

scenes() {
    local name ports=()
    pip_packages --no-deps rdb-py==0.4.0 rdbtools==0.1.15
    for name in redis7 redis8 valkey9; do
        start "$name"
        ports+=("$name=$port")
        ask "$port" SET greeting hello >/dev/null
        ask "$port" SAVE >/dev/null
        cp "$folder/dump.rdb" "$work/$name.rdb"
        printf '%s: file begins with %s\n' "$name" "$(head -c 9 "$work/$name.rdb")"
        script "$work/$name.rdb" <<'PY'
import io, sys, rdb, rdbtools
def outcome(text, read):
    try:
        print(" ", text, "reads", read())
    except Exception as error:
        print(" ", text, "says", error.args[-1])

def rdbtools_keys():
    out = io.BytesIO()
    rdbtools.RdbParser(rdbtools.KeysOnlyCallback(out)).parse(sys.argv[1])
    return out.getvalue().decode().split()

outcome("rdb-py", lambda: [item["key"].decode() for item in rdb.RdbDecoder(sys.argv[1]) if item["type"] == "string"])
outcome("rdbtools", rdbtools_keys)
PY
    done
    script "${ports[@]}" <<'PY'
import sys, resp
clients = {name: resp.Client(port) for name, port in (pair.split("=") for pair in sys.argv[1:])}
for source, one in clients.items():
    payload = one("DUMP greeting").encode("latin1")
    for target, other in clients.items():
        if source != target:
            reply = other("RESTORE", "copy", 0, payload, "REPLACE")
            print(f"DUMP in {source}, RESTORE in {target}:", "OK" if reply == "OK" else "refused")
PY
}

finding scenes <<'SEEN'
redis7: file begins with REDIS0010
  rdb-py reads ['greeting']
  rdbtools says Invalid RDB version number 10
redis8: file begins with REDIS0012
  rdb-py reads ['greeting']
  rdbtools says Invalid RDB version number 12
valkey9: file begins with VALKEY080
  rdb-py says Not a valid RDB file: Not an RDB file: missing REDIS magic string
  rdbtools says Invalid File Format
DUMP in redis7, RESTORE in redis8: OK
DUMP in redis7, RESTORE in valkey9: OK
DUMP in redis8, RESTORE in redis7: refused
DUMP in redis8, RESTORE in valkey9: refused
DUMP in valkey9, RESTORE in redis7: refused
DUMP in valkey9, RESTORE in redis8: refused
SEEN
