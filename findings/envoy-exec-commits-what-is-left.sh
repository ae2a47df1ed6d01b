#!/usr/bin/env bash
# Envoy refuses a command of a transaction and commits the others
#
# Versions: Envoy 1.40.0 before a cluster of redis-server 7.0.15
# One would expect: after an error while queueing, EXEC replies with EXECABORT and nothing
#   runs, as Redis has done since 2.6.5.
# Seen: Envoy refuses by itself what it does not know or would not route (an unknown command,
#   one without arguments, EVAL), the server hears nothing of it, and EXEC commits the rest;
#   its array is shorter than the list of commands. PING is answered at once instead of queued.
#   What the server refuses (keys in two slots) does abort.
# Source: Envoy's documentation 1.40, "Redis", section "Transactions": "no different from regular
#   Redis"; Redis' transactions page, "Errors inside a transaction".
# Topic: Proxies
# Matters to: docs/transactions.md (states and events: "refused"); cross-slot-transaction.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
servers redis7

scenes() {
    cluster redis7
    envoy "${nodes[0]}"
    script "${nodes[0]}" "$proxy" <<'PY'
import sys, resp
def short(reply):
    if not isinstance(reply, str) or not reply.startswith("-"):
        return reply
    word = reply.split(" ")[0]
    return word if word in ("-EXECABORT", "-CROSSSLOT") else "refused"

for text, port in ("the node itself", sys.argv[1]), ("through Envoy", sys.argv[2]):
    print(text)
    for command in "NOSUCH b", "GET", "EVAL return(1) 1 b", "PING", "MSET b 1 f 1":
        own = resp.Client(port)
        own("DEL b")
        replies = [own("MULTI"), short(own("SET b 1")), short(own(command)), short(own("EXEC"))]
        print(" ", command, "->", *replies[2:], "| b is", own("GET b"))
PY
}

finding scenes <<'SEEN'
the node itself
  NOSUCH b -> refused -EXECABORT | b is None
  GET -> refused -EXECABORT | b is None
  EVAL return(1) 1 b -> QUEUED ['OK', 1] | b is 1
  PING -> QUEUED ['OK', 'PONG'] | b is 1
  MSET b 1 f 1 -> -CROSSSLOT -EXECABORT | b is None
through Envoy
  NOSUCH b -> refused ['OK'] | b is 1
  GET -> refused ['OK'] | b is 1
  EVAL return(1) 1 b -> refused ['OK'] | b is 1
  PING -> PONG ['OK'] | b is 1
  MSET b 1 f 1 -> -CROSSSLOT -EXECABORT | b is None
SEEN
