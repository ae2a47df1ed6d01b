// node-redis' client-side cache, over RESP3: at one address, and at the nodes of a
// cluster if SLOTWAY_NODES names any. What it keeps, what it drops, and that it holds no
// old value while others write.
import { BasicClientSideCache, BasicPooledClientSideCache, createClient, createCluster } from '@redis/client';
import { Checks, options } from './checks.js';

const KEYS = Array.from({ length: 20 }, (_, number) => `cache:${number}`);
const WRITES = 300;
const PATIENCE_MS = 20_000;
const nodes = (process.env.SLOTWAY_NODES ?? '').split(' ').filter((address) => address !== '');

/** A client and its cache, if it has one. */
async function connect(cached = true) {
  let client;
  let cache;
  if (nodes.length > 0) {
    cache = new BasicPooledClientSideCache({ ttl: 0, maxEntries: 1000 });
    const [host, port] = nodes[0].split(':');
    client = createCluster({ RESP: 3, rootNodes: [{ socket: { host, port: Number(port) } }], ...(cached && { clientSideCache: cache }) });
  } else {
    cache = new BasicClientSideCache({ ttl: 0, maxEntries: 1000 });
    client = createClient({ RESP: 3, socket: { host: options.host, port: options.port }, ...(cached && { clientSideCache: cache }) });
  }
  client.on('error', () => {});
  await client.connect();
  return { client, cache };
}

async function until(isSo) {
  for (const end = Date.now() + PATIENCE_MS; Date.now() < end; await new Promise((resolve) => setTimeout(resolve, 10))) {
    if (await isSo()) return true;
  }
  return false;
}

async function flush(client) {
  if (nodes.length === 0) return client.flushAll();
  return Promise.all(client.masters.map(async (node) => (await client.nodeClient(node)).flushAll()));
}

async function keeps(checks, { client, cache }, plain) {
  await plain.set('cache:a', '1');
  checks.equal('read', await client.get('cache:a'), '1');
  const before = cache.stats().hitCount;
  for (let times = 0; times < 10; times += 1) checks.equal('kept', await client.get('cache:a'), '1');
  checks.equal('without asking', cache.stats().hitCount - before, 10);
  checks.equal('nothing', await client.get('cache:none'), null);
}

async function drops(checks, { client }, plain) {
  const all = () => Promise.all(KEYS.map((key) => client.get(key)));
  for (const key of KEYS) await plain.set(key, 'old');
  await all();
  for (const key of KEYS) await plain.set(key, 'new');
  checks.hold('every change is seen', await until(async () => (await all()).every((value) => value === 'new')));
  await plain.del(KEYS[0]);
  checks.hold('a key that is gone', await until(async () => (await client.get(KEYS[0])) === null));
  await plain.set(KEYS[1], 'brief', { PX: 30 });
  checks.hold('a key that expires', await until(async () => (await client.get(KEYS[1])) === null));
  await plain.multi().set(KEYS[2], 'queued').exec();
  checks.hold('a transaction', await until(async () => (await client.get(KEYS[2])) === 'queued'));
  await client.set(KEYS[3], 'own');
  checks.hold('its own change', await until(async () => (await client.get(KEYS[3])) === 'own'));
  await flush(plain);
  checks.hold('FLUSHALL', await until(async () => (await all()).every((value) => value === null)));
}

/** A writer counts a key up; what the cache shows never goes back, and ends at the last. */
async function whileOthersWrite(checks, { client }, plain) {
  await plain.set('cache:count', '0');
  let isOver = false;
  const write = async () => {
    for (let times = 0; times < WRITES; times += 1) await plain.incr('cache:count');
    isOver = true;
  };
  const written = write();
  const seen = [];
  while (!isOver) {
    seen.push(Number(await client.get('cache:count')));
    await new Promise((resolve) => setImmediate(resolve));
  }
  await written;
  checks.hold('never back', seen.every((value, at) => at === 0 || value >= seen[at - 1]));
  checks.hold('the last is seen', await until(async () => (await client.get('cache:count')) === String(WRITES)));
}

const checks = new Checks(`node-redis caches, ${nodes.length > 0 ? 'cluster' : 'one address'}`);
const { client: plain } = await connect(false);
await flush(plain);
for (const part of [keeps, drops, whileOthersWrite]) {
  const cached = await connect();
  await checks.run('RESP3', [part], cached, plain);
  cached.client.destroy();
}
plain.destroy();
checks.finish();
