#!/usr/bin/env bash
# SCAN through Envoy has one cursor and one list per node
#
# Versions: Envoy 1.40.0 before a cluster of redis-server 7.0.15; redis-py 8.1.0
# One would expect: a cursor and a list, as the SCAN page has it, or an error: SCAN is in Envoy's
#   list of commands, which are to be identical to Redis' own.
# Seen: An array of six for three nodes: cursor, keys, cursor, keys, cursor, keys. Whatever
#   cursor comes next goes to all three. redis-py's scan_iter raises ValueError.
# Source: Envoy's documentation 1.40, "Redis", section "Supported commands"; pull request 39702 and
#   issue 42889 (open) of envoyproxy/envoy.
# Topic: Proxies
# Matters to: docs/cluster.md (two kinds of port: SCAN over the whole cluster); node-local-command.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
servers redis7

scenes() {
    cluster redis7
    envoy "${nodes[0]}"
    pip_packages redis==8.1.0
    script "$proxy" <<'PY'
import sys, redis, resp
own = resp.Client(sys.argv[1])
for key in "a", "b", "c":  # one on each node
    own("SET", key, 1)
reply = own("SCAN 0 COUNT 100")
print("SCAN 0:", len(reply), "elements:", sorted(zip(reply[::2], reply[1::2])))
client = redis.Redis(port=int(sys.argv[1]), protocol=2)
try:
    print("scan_iter:", sorted(client.scan_iter()))
except ValueError as error:
    print("scan_iter:", type(error).__name__, error)
PY
}

finding scenes <<'SEEN'
SCAN 0: 6 elements: [('0', ['a']), ('0', ['b']), ('0', ['c'])]
scan_iter: ValueError too many values to unpack (expected 2)
SEEN
