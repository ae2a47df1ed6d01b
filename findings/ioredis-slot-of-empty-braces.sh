#!/usr/bin/env bash
# ioredis computes another slot for keys with empty braces before a hashtag
#
# Versions: ioredis 6.0.0, iovalkey 0.4.0, node-redis 6.3.1; cluster-key-slot 1.1.1 and 1.1.2;
#   redis-server 7.0.15
# One would expect: cart:{}:{42} is hashed as a whole: the first braces are empty, so there is no
#   hashtag. The most used slot library of Node has that.
# Seen: cluster-key-slot goes on to the next closing brace. ioredis and iovalkey send each
#   command on such a key to the wrong node and follow MOVED, every time again; transactions,
#   too. node-redis 6 has code of its own, and is right.
# Source: Redis Cluster specification, "Hash tags", the example foo{}{bar}. Pull request 2172 of
#   redis/ioredis, merged after 6.0.0. lib/index.js of cluster-key-slot, generate.
# Topic: Cluster clients
# Matters to: docs/proof.md (slotway check keys); patterns with an empty field in braces.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
servers redis7

scenes() {
    cluster redis7
    node_packages ioredis@6.0.0 iovalkey@0.4.0 redis@6.3.1 cluster-key-slot@1.1.2
    cat >"$work/node/scene.mjs" <<'JS'
import { createRequire } from 'module';
import { Cluster, Redis } from 'ioredis';
import Valkey from 'iovalkey';
import { createCluster } from 'redis';

const slotOf = createRequire(import.meta.url)('cluster-key-slot');
const ports = process.argv.slice(2).map(Number);
const nodes = ports.map((port) => new Redis({ port }));

for (const key of ['cart:{}:x', 'cart:{}:{42}', '{}{42}']) {
  console.log(`${key}: server ${await nodes[0].cluster('KEYSLOT', key)}, cluster-key-slot ${slotOf(key)}`);
}

async function redirections() {
  let count = 0;
  for (const node of nodes) count += Number(/MOVED:count=(\d+)/.exec(await node.info('errorstats'))?.[1] ?? 0);
  return count;
}

const root = { host: '127.0.0.1', port: ports[0] };
const clients = {
  ioredis: new Cluster([root]),
  iovalkey: new Valkey.Cluster([root]),
  'node-redis': await createCluster({ rootNodes: [{ socket: root }] }).connect(),
};
for (const [name, client] of Object.entries(clients)) {
  const counts = [];
  for (const key of ['cart:{42}:x', 'cart:{}:{42}']) {
    const before = await redirections();
    for (let turn = 0; turn < 10; turn++) await client.set(key, 'full');
    await client.multi().set(key, 'empty').exec();
    counts.push(`${key} ${(await redirections()) - before}`);
  }
  console.log(`${name}, redirections of 10 SET and a transaction: ${counts.join(', ')}`);
}
process.exit(0);
JS
    (cd "$work/node" && node scene.mjs "${nodes[@]}")
}

finding scenes <<'SEEN'
cart:{}:x: server 8455, cluster-key-slot 8455
cart:{}:{42}: server 9749, cluster-key-slot 13307
{}{42}: server 13056, cluster-key-slot 14265
ioredis, redirections of 10 SET and a transaction: cart:{42}:x 0, cart:{}:{42} 11
iovalkey, redirections of 10 SET and a transaction: cart:{42}:x 0, cart:{}:{42} 11
node-redis, redirections of 10 SET and a transaction: cart:{42}:x 0, cart:{}:{42} 0
SEEN
