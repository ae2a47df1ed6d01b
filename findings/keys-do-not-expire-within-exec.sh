#!/usr/bin/env bash
# Within EXEC no key expires, while TIME goes on or stands still
#
# Versions: redis-server 7.0.15, Redis 8.2.3, Valkey 9.1.2
# One would expect: a key with 50 ms to live is gone 200 ms later, also within one long
#   transaction: only scripts are known to freeze the clock.
# Seen: GET finds it until EXEC ends. In 7.0.15 TIME goes on meanwhile, and PTTL counts down
#   to 0; in the newer servers TIME gives the same microsecond twice and PTTL stays at 50.
# Source: The TIME and EXPIRE pages do not say so. Pull request 10300 of redis/redis (in 7.2)
#   freezes "commands and scripts"; EXEC is one command there. 7.0.15: src/server.c, call,
#   fixed_time_expire.
# Topic: MULTI and EXEC
# Matters to: docs/transactions.md (guarantee 1, "nothing in between").
set -euo pipefail
source "$(dirname "$0")/lib.sh"
servers redis7 redis8 valkey9

scenes() {
    on_each redis7 redis8 valkey9 <<'PY'
import sys, resp
name, port = sys.argv[1:]
own = resp.Client(port)
own("MULTI")
for command in "TIME", "SET lease mine PX 50", "DEBUG SLEEP 0.2", "GET lease", "PTTL lease", "TIME":
    own(command)
before, _, _, lease, left, after = own("EXEC")
passed = (int(after[0]) - int(before[0])) * 1000 + (int(after[1]) - int(before[1])) // 1000
print(name)
print("  within EXEC, after 200 ms:", lease, "with", left, "ms left; TIME says that", "200 ms or more" if passed >= 200 else f"{passed} ms", "passed")
print("  after EXEC:", own("GET lease"))
PY
}

finding scenes <<'SEEN'
redis7
  within EXEC, after 200 ms: mine with 0 ms left; TIME says that 200 ms or more passed
  after EXEC: None
redis8
  within EXEC, after 200 ms: mine with 50 ms left; TIME says that 0 ms passed
  after EXEC: None
valkey9
  within EXEC, after 200 ms: mine with 50 ms left; TIME says that 0 ms passed
  after EXEC: None
SEEN
