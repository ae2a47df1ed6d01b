#!/usr/bin/env bash
# Envoy answers WATCH with OK, and commits over the other write
#
# Versions: Envoy 1.40.0 before a cluster of redis-server 7.0.15
# One would expect: EXEC replies with nil if another client has written the watched key, or
#   WATCH is refused: Envoy's page lists WATCH, and says that transactions are used as ever.
# Seen: WATCH replies with OK. The value is read, another client writes, MULTI, SET, EXEC
#   commits: the other write is lost. WATCH travels on a connection that all clients share,
#   the transaction on a new one.
# Source: Envoy's documentation 1.40, "Redis", sections "Transactions" and "Supported commands";
#   pull requests 31188 (WATCH) and 22729 (a new connection per transaction) of envoyproxy/envoy.
# Topic: Proxies
# Matters to: docs/transactions.md (guarantee 4, "never unguarded"); docs/bench.md: an invariant
#   that breaks behind a proxy is not the server's.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
servers redis7

scenes() {
    cluster redis7
    envoy "${nodes[0]}"
    script "${nodes[0]}" "$proxy" <<'PY'
import sys, resp
# "b" is in a slot of the first node.
for text, port in ("the node itself", sys.argv[1]), ("through Envoy", sys.argv[2]):
    ann, bob = resp.Client(port), resp.Client(port)
    ann("SET b 100")
    print(text)
    print("  ann: WATCH", ann("WATCH b"), "GET", ann("GET b"))
    print("  bob: INCRBY", bob("INCRBY b 50"))
    print("  ann: MULTI", ann("MULTI"), "SET", ann("SET b 101"), "EXEC", ann("EXEC"))
    print("  value:", bob("GET b"))
PY
}

finding scenes <<'SEEN'
the node itself
  ann: WATCH OK GET 100
  bob: INCRBY 150
  ann: MULTI OK SET QUEUED EXEC None
  value: 150
through Envoy
  ann: WATCH OK GET 100
  bob: INCRBY 150
  ann: MULTI OK SET QUEUED EXEC ['OK']
  value: 101
SEEN
