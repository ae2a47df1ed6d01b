#!/usr/bin/env bash
# CLIENT TRACKING with overlapping prefixes is refused, and takes effect all the same
#
# Versions: redis-server 7.0.15, Redis 8.2.3, Valkey 9.1.2
# One would expect: prefixes of one command that overlap are refused, whichever of them it is.
# Seen: If the first overlaps with a later one, there is an error and nothing else. If it is the
#   second, Redis' error is followed by OK, and all prefixes are registered: the connection is one
#   reply ahead from then on. Valkey replies once. Redis' checkPrefixCollisionsOrReply returns the
#   index of the prefix where it means "no".
# Source: The CLIENT TRACKING page: prefixes must not overlap. src/tracking.c.
# Topic: Client-side caching
# Matters to: docs/differences.md.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
servers redis7 redis8 valkey9

scenes() {
    local name
    for name in redis7 redis8 valkey9; do
        start "$name"
        script "$name" "$port" <<'PY'
import sys, time, resp
name, port = sys.argv[1:]
print(name)
for prefixes in "a ab x", "x a ab":
    own = resp.Client(port)
    words = " ".join(f"PREFIX {prefix}" for prefix in prefixes.split())
    own.send(f"CLIENT TRACKING ON BCAST {words}")
    time.sleep(0.2)
    print(f"  {prefixes}:", " | ".join(own.socket.recv(4096).decode().split("\r\n")[:-1]))
PY
    done
}

finding scenes <<'SEEN'
redis7
  a ab x: -ERR Prefix 'a' overlaps with another provided prefix 'ab'. Prefixes for a single client must not overlap.
  x a ab: -ERR Prefix 'a' overlaps with another provided prefix 'ab'. Prefixes for a single client must not overlap. | +OK
redis8
  a ab x: -ERR Prefix 'a' overlaps with another provided prefix 'ab'. Prefixes for a single client must not overlap.
  x a ab: -ERR Prefix 'a' overlaps with another provided prefix 'ab'. Prefixes for a single client must not overlap. | +OK
valkey9
  a ab x: -ERR Prefix 'a' overlaps with another provided prefix 'ab'. Prefixes for a single client must not overlap.
  x a ab: -ERR Prefix 'a' overlaps with another provided prefix 'ab'. Prefixes for a single client must not overlap.
SEEN
