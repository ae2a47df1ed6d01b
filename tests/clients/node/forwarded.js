// ioredis Cluster or node-redis' cluster (the argument) behind forwarded ports: keys of several slots, from
// masters and replicas, and a transaction.
import { createCluster } from '@redis/client';
import Redis from 'ioredis';
import { Checks } from './checks.js';

const host = process.env.SLOTWAY_HOST;
const port = Number(process.env.SLOTWAY_PORT);
// Slots 5061, 866, 7365, 8157, 12182 and 15495: two of each master.
const KEYS = ['bar', 'hello', 'c', 'z', 'foo', 'a'];
const addresses = process.env.SLOTWAY_PORTS.split(' ').map((one) => `${host}:${one}`).sort();
const upper = KEYS.map((key) => key.toUpperCase());

async function ioredis(checks) {
  const client = new Redis.Cluster([{ host, port }]);
  checks.equal('SET', await Promise.all(KEYS.map((key) => client.set(key, key.toUpperCase()))), KEYS.map(() => 'OK'));
  checks.equal('GET', await Promise.all(KEYS.map((key) => client.get(key))), upper);
  checks.equal('MULTI', await client.multi().incr('{foo}n').incr('{foo}n').exec(), [[null, 1], [null, 2]]);
  checks.equal('the addresses', client.nodes().map((node) => `${node.options.host}:${node.options.port}`).sort(), addresses);
  const reader = new Redis.Cluster([{ host, port }], { scaleReads: 'slave' });
  checks.equal('GET of replicas', await Promise.all(KEYS.map((key) => reader.get(key))), upper);
  reader.disconnect();
  client.disconnect();
}

async function nodeRedis(checks, RESP) {
  const rootNodes = [{ socket: { host, port } }];
  const client = await createCluster({ RESP, rootNodes }).on('error', () => {}).connect();
  checks.equal('SET', await Promise.all(KEYS.map((key) => client.set(key, key.toUpperCase()))), KEYS.map(() => 'OK'));
  checks.equal('GET', await Promise.all(KEYS.map((key) => client.get(key))), upper);
  checks.equal('MULTI', await client.multi().set('{foo}n', '1').incr('{foo}n').exec(), ['OK', 2]);
  const reader = await createCluster({ RESP, rootNodes, useReplicas: true }).on('error', () => {}).connect();
  checks.equal('GET of replicas', await Promise.all([...KEYS, ...KEYS].map((key) => reader.get(key))), [...upper, ...upper]);
  checks.equal('the addresses', [...reader.masters, ...reader.replicas].map(({ address }) => address).sort(), addresses);
  reader.destroy();
  client.destroy();
}

const kind = process.argv[2];
const checks = new Checks(`${kind}, forwarded`);
if (kind === 'ioredis') {
  await checks.run('RESP2', [ioredis]);
} else {
  await checks.run('RESP2', [nodeRedis], 2);
  await checks.run('RESP3', [nodeRedis], 3);
}
checks.finish();
