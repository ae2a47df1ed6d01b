#!/usr/bin/env bash
# MULTI in an append-only file is not the client's MULTI
#
# Versions: redis-server 7.0.15, Redis 8.2.3, Valkey 9.1.2
# One would expect: what a client sent in MULTI ... EXEC stands in MULTI ... EXEC, and what it
#   sent alone stands alone.
# Seen: MULTI, GET, SET, EXEC is written as one SET. A lone MGET, a read, of two keys that have
#   expired is written as MULTI, DEL, DEL, EXEC; so is a lone RENAME over an expired key. A
#   transaction that reads an expired key and writes another has both in the file. SPOP of two
#   is a transaction of two SREM in 7.0.15 and one SREM later. Valkey writes UNLINK for DEL.
# Source: The persistence page: the file has the commands that the server received.
#   src/server.c, propagatePendingCommands: MULTI if there is more than one effect.
# Topic: MONITOR, AOF and RDB
# Matters to: docs/proof.md (what an AOF does not contain); cross-slot-transaction and
#   cross-slot-command, which cannot be told apart there.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
servers redis7 redis8 valkey9

scenes() {
    local name
    for name in redis7 redis8 valkey9; do
        start "$name" --appendonly yes --appendfsync always
        script "$name" "$port" "$folder" <<'PY'
import glob, sys, time, resp
name, port, folder = sys.argv[1:]
own = resp.Client(port)

def written():
    (file,) = glob.glob(folder + "/appendonlydir/*.incr.aof")
    return [c for c in resp.commands(open(file, "rb").read()) if not c.startswith("SELECT")]

def scene(*commands):
    before = len(written())
    for command in commands:
        own(command)
    lines = [" ".join(line.split(" ")[:2]) for line in written()[before:]]
    print(" ", "; ".join(commands), "->", "; ".join(lines).upper())

def expired(*keys):
    for key in keys:
        own(f"SET {key} 1 PX 1")
        time.sleep(0.01)

print(name)
own("DEBUG SET-ACTIVE-EXPIRE 0")
own("SET live 1")
scene("MULTI", "GET live", "SET live 2", "EXEC")
expired("old", "older")
scene("MGET old older")
expired("old")
scene("RENAME live old")
own("SET live 1")
expired("older")
scene("MULTI", "GET older", "SET live 3", "EXEC")
own("SADD bag 1 2 3")
scene("SPOP bag 2")
PY
    done
}

finding scenes <<'SEEN'
redis7
  MULTI; GET live; SET live 2; EXEC -> SET LIVE
  MGET old older -> MULTI; DEL OLD; DEL OLDER; EXEC
  RENAME live old -> MULTI; DEL OLD; RENAME LIVE; EXEC
  MULTI; GET older; SET live 3; EXEC -> MULTI; DEL OLDER; SET LIVE; EXEC
  SPOP bag 2 -> MULTI; SREM BAG; SREM BAG; EXEC
redis8
  MULTI; GET live; SET live 2; EXEC -> SET LIVE
  MGET old older -> MULTI; DEL OLD; DEL OLDER; EXEC
  RENAME live old -> MULTI; DEL OLD; RENAME LIVE; EXEC
  MULTI; GET older; SET live 3; EXEC -> MULTI; DEL OLDER; SET LIVE; EXEC
  SPOP bag 2 -> SREM BAG
valkey9
  MULTI; GET live; SET live 2; EXEC -> SET LIVE
  MGET old older -> MULTI; UNLINK OLD; UNLINK OLDER; EXEC
  RENAME live old -> MULTI; UNLINK OLD; RENAME LIVE; EXEC
  MULTI; GET older; SET live 3; EXEC -> MULTI; UNLINK OLDER; SET LIVE; EXEC
  SPOP bag 2 -> SREM BAG
SEEN
