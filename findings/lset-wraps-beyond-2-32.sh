#!/usr/bin/env bash
# LSET of Redis 8.2 and Valkey 9.1 with an index of 2^32 and more overwrites another element
#
# Versions: redis-server 7.0.15, Redis 8.2.3, Valkey 9.1.2
# One would expect: LSET at 4294967296 of a list of three fails with "index out of range", as LINDEX
#   there finds nothing, and as it did in Redis 7.0.
# Seen: Redis 8.2.3 and Valkey 9.1.2 reply OK and overwrite the first element; at 4294967297 the
#   second. LINDEX of the same index finds nothing. At 2147483648 there is an error again.
# Source: The LSET page promises an error for an index that is out of range. src/t_list.c since 7.2,
#   lsetCommand has a long and listTypeReplaceAtIndex takes an int.
# Topic: Lists
# Matters to: docs/differences.md; docs/cluster.md (what of Valkey is not part of the dialect).
set -euo pipefail
source "$(dirname "$0")/lib.sh"
servers redis7 redis8 valkey9

scenes() {
    on_each redis7 redis8 valkey9 <<'PY'
import sys, resp
name, one = sys.argv[1], resp.Client(sys.argv[2])
print(name)
for index in 3, 2**31, 2**32, 2**32 + 1:
    one("DEL list")
    one("RPUSH list a b c")
    found = one("LINDEX", "list", index)
    print(f"  {index}: LINDEX {found}, LSET {one('LSET', 'list', index, 'x')}, then {' '.join(one('LRANGE list 0 -1'))}")
PY
}

finding scenes <<'SEEN'
redis7
  3: LINDEX None, LSET -ERR index out of range, then a b c
  2147483648: LINDEX None, LSET -ERR index out of range, then a b c
  4294967296: LINDEX None, LSET -ERR index out of range, then a b c
  4294967297: LINDEX None, LSET -ERR index out of range, then a b c
redis8
  3: LINDEX None, LSET -ERR index out of range, then a b c
  2147483648: LINDEX None, LSET -ERR index out of range, then a b c
  4294967296: LINDEX None, LSET OK, then x b c
  4294967297: LINDEX None, LSET OK, then a x c
valkey9
  3: LINDEX None, LSET -ERR index out of range, then a b c
  2147483648: LINDEX None, LSET -ERR index out of range, then a b c
  4294967296: LINDEX None, LSET OK, then x b c
  4294967297: LINDEX None, LSET OK, then a x c
SEEN
