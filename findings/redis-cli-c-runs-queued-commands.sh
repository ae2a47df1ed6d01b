#!/usr/bin/env bash
# redis-cli -c takes a command out of the transaction and runs it
#
# Versions: redis-cli and redis-server 7.0.15
# One would expect: a queued command of another node's slot gets an error, and EXEC aborts; or
#   redis-cli leaves its transaction alone.
# Seen: MOVED in MULTI is followed like any other: redis-cli changes the connection and sends
#   the command there, outside any transaction, where it runs at once. EXEC and DISCARD then say
#   "without MULTI". What was queued before is dropped, what comes after runs, too; DISCARD
#   takes back nothing.
# Source: The redis-cli page on -c: redirections are followed. src/redis-cli.c of 7.0.15,
#   cliReadReply: no look at the MULTI state.
# Topic: Cluster tools
# Matters to: docs/cluster.md (two kinds of port: a transaction over two slots); a session of
#   redis-cli -c in a MONITOR or history is no transaction (docs/proof.md).
set -euo pipefail
source "$(dirname "$0")/lib.sh"
servers redis7
redis-cli --version >&2

scenes() {
    local end
    cluster redis7
    # "b" is on the first node, "a" on the third.
    for end in EXEC DISCARD; do
        ask "${nodes[0]}" DEL b >/dev/null
        ask "${nodes[2]}" DEL a >/dev/null
        echo "MULTI, SET b 1, SET a 1, $end:"
        printf 'MULTI\nSET b 1\nSET a 1\n%s\n' "$end" | redis-cli -c -p "${nodes[0]}" |
            sed -e '/^$/d' -e "s/127.0.0.1:${nodes[2]}/the third node/" -e 's/^/  /'
        echo "  b: $(ask "${nodes[0]}" GET b), a: $(ask "${nodes[2]}" GET a)"
    done
}

finding scenes <<'SEEN'
MULTI, SET b 1, SET a 1, EXEC:
  OK
  QUEUED
  -> Redirected to slot [15495] located at the third node
  OK
  ERR EXEC without MULTI
  b: None, a: 1
MULTI, SET b 1, SET a 1, DISCARD:
  OK
  QUEUED
  -> Redirected to slot [15495] located at the third node
  OK
  ERR DISCARD without MULTI
  b: None, a: 1
SEEN
