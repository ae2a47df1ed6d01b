// node-redis cluster over RESP2 and RESP3 against node ports: what it discovers,
// transactions, subscriptions, replicas, and that it counts right while slots move and
// a replica takes over.
import { createClient, createCluster, SimpleError, WatchError } from '@redis/client';
import { Checks, outcome } from '../checks.js';
import { apart, counting, firstSlots, gets, NODES, roots, slotOf, TAGS, topology, until } from './nodes.js';

async function connect(protocol, more = {}) {
  const cluster = createCluster({ RESP: protocol, rootNodes: roots.map((socket) => ({ socket })), ...more });
  cluster.on('error', () => {}); // reported here too; the checks look at the outcome
  await cluster.connect();
  return cluster;
}

/** One node, without what a cluster client does about redirections. */
async function plain(protocol, address) {
  const client = createClient({ RESP: protocol, socket: apart(address) });
  client.on('error', () => {});
  return client.connect();
}

const owner = (cluster, slot) => cluster.slots[slot].master.address;

async function discovery(checks, cluster, protocol) {
  const masters = (await topology('masters')).split('\n');
  const reader = await connect(protocol, { useReplicas: true, rootNodes: [{ socket: apart(NODES[5]) }] });
  checks.equal('masters', cluster.masters.map(({ address }) => address).sort(), [...masters].sort());
  checks.equal('replicas, from a replica', reader.replicas.map(({ address }) => address).sort(), (await topology('replicas')).split('\n').sort());
  const slots = [0, 16000];
  checks.equal('slots have their owners', slots.map((slot) => owner(cluster, slot)), await Promise.all(slots.map((slot) => topology('owner', slot))));
  reader.destroy();
}

async function allSlots(checks, cluster) {
  await Promise.all(cluster.masters.map(async (node) => (await cluster.nodeClient(node)).flushAll()));
  const answers = [];
  // Not all at once: a command that has waited for long is given up.
  for (let from = 0; from < TAGS.length; from += 1024) {
    const some = TAGS.slice(from, from + 1024).map((tag, at) => Promise.all([cluster.set(`all:{${tag}}`, String(from + at)), cluster.get(`all:{${tag}}`)]));
    answers.push(...await Promise.all(some));
  }
  checks.hold('each slot', answers.every(([set, got], slot) => set === 'OK' && got === String(slot)));
  const sizes = await Promise.all(cluster.masters.map(async (node) => (await cluster.nodeClient(node)).dbSize()));
  checks.equal('DBSIZE adds up', sizes.reduce((sum, size) => sum + size), 16384);
  checks.equal('MSET and MGET with one tag', [await cluster.mSet({ '{s}1': 'x', '{s}2': 'y' }), await cluster.mGet(['{s}1', '{s}2', '{s}3'])], ['OK', ['x', 'y', null]]);
  const node = await cluster.nodeClient(cluster.slots[slotOf('foo')].master);
  await checks.rejects('CROSSSLOT', node.mSet({ foo: '1', bar: '2' }), SimpleError, "CROSSSLOT Keys in request don't hash to the same slot");
  const wrong = await cluster.nodeClient(cluster.masters.find(({ address }) => address !== owner(cluster, slotOf('foo'))));
  await checks.rejects('MOVED', wrong.get('foo'), SimpleError, `MOVED 12182 ${owner(cluster, 12182)}`);
}

async function transactions(checks, cluster, protocol) {
  checks.equal('MULTI', await cluster.multi().set('{t}a', '1').incr('{t}a').exec(), ['OK', 2]);
  const node = await cluster.getNodeClientForKey('{t}w');
  await node.watch('{t}w');
  const other = await connect(protocol);
  await other.set('{t}w', '1');
  await checks.rejects('a touched key', node.multi().set('{t}w', '2').exec(), WatchError, '');
  checks.equal('nothing was written', await cluster.get('{t}w'), '1');
  other.destroy();
  const neighbour = TAGS[slotOf('{t}') + 1];
  await checks.rejects('two slots of one node, at EXEC', cluster.multi().set('{t}a', '5').set(neighbour, '5').exec(), SimpleError, 'CROSSSLOT');
  checks.equal('and nothing of it is stored', [await cluster.get('{t}a'), await cluster.get(neighbour)], ['2', null]);
}

async function subscriptions(checks, cluster, protocol) {
  const listener = await connect(protocol);
  const seen = [];
  await listener.subscribe('news', (text) => seen.push(`news ${text}`));
  await listener.pSubscribe('n?ws', (text) => seen.push(`n?ws ${text}`));
  for (const [number, address] of NODES.entries()) {
    const node = await plain(protocol, address);
    await node.publish('news', String(number));
    node.destroy();
  }
  await until(() => seen.length >= 12);
  checks.equal('PUBLISH from each node arrives', seen.sort(), NODES.flatMap((_, number) => [`n?ws ${number}`, `news ${number}`]).sort());
  listener.destroy();
}

async function sharded(checks, cluster, protocol) {
  const channels = [1, 6000, 16000].map((slot) => `s:{${TAGS[slot]}}`);
  const listener = await connect(protocol);
  const seen = [];
  for (const channel of channels) await listener.sSubscribe(channel, (text) => seen.push(`${channel} ${text}`));
  for (const channel of channels) checks.equal('SPUBLISH finds its subscriber', await cluster.sPublish(channel, 'x'), 1);
  await until(() => seen.length >= 3);
  checks.equal('and each arrives', seen.sort(), channels.map((channel) => `${channel} x`).sort());

  // A subscription goes where its slot goes.
  const [source, target] = (await topology('masters')).split('\n');
  const [slot] = await firstSlots(source, 1);
  const channel = `f:{${TAGS[slot]}}`;
  await listener.sSubscribe(channel, (text) => seen.push(`${channel} ${text}`));
  checks.equal('before its slot moves', await cluster.sPublish(channel, 'before'), 1);
  await topology('reshard', source, target, 1);
  checks.hold('after it has moved', await until(async () => (await cluster.sPublish(channel, 'after')) === 1));
  await until(() => seen.includes(`${channel} after`));
  checks.hold('both arrive', seen.includes(`${channel} before`) && seen.includes(`${channel} after`), seen);
  listener.destroy();
}

async function replicas(checks, cluster, protocol) {
  const reader = await connect(protocol, { useReplicas: true });
  const keys = Array.from({ length: 17 }, (_, number) => `r:{${TAGS[number * 900 + 7]}}`);
  for (const [number, key] of keys.entries()) await cluster.set(key, String(number));
  const before = await Promise.all(NODES.map(gets));
  const arrived = async () => {
    const right = (await Promise.all(keys.map((key) => reader.get(key)))).every((value, number) => value === String(number));
    // Reads go around masters and replicas.
    const after = await Promise.all(NODES.map(gets));
    return right && NODES.every((_, at) => after[at] > before[at]);
  };
  checks.hold('masters and replicas are read from', await until(arrived));
  checks.equal('writes go to the masters', await reader.set(keys[0], 'new'), 'OK');
  const master = owner(cluster, slotOf(keys[0]));
  const replica = await plain(protocol, await topology('replica', master));
  await checks.rejects('a replica without READONLY', replica.get(keys[0]), SimpleError, `MOVED ${slotOf(keys[0])} ${master}`);
  await replica.readonly();
  checks.hold('with READONLY', await until(async () => (await replica.get(keys[0])) === 'new'));
  await checks.rejects('but no write', replica.set(keys[0], 'no'), SimpleError, `MOVED ${slotOf(keys[0])} ${master}`);
  await replica.sendCommand(['READWRITE']);
  await checks.rejects('nor after READWRITE', replica.get(keys[0]), SimpleError, `MOVED ${slotOf(keys[0])} ${master}`);
  replica.destroy();
  reader.destroy();
}

async function halfMigrated(checks, cluster) {
  const slot = 5474; // {user}
  const source = await topology('owner', slot);
  const target = (await topology('masters')).split('\n').find((node) => node !== source);
  await cluster.mSet({ '{user}gone': '1', '{user}here': '2', '{user}count': '10' });
  await topology('half', slot, target, '{user}gone', '{user}count');
  try {
    const answers = await Promise.all(Array.from({ length: 40 }, (_, number) => cluster.get(number % 2 ? '{user}gone' : '{user}here')));
    checks.equal('each key where it is', answers, Array.from({ length: 40 }, (_, number) => (number % 2 ? '1' : '2')));
    const counted = await Promise.all(Array.from({ length: 20 }, () => cluster.incr('{user}count')));
    checks.equal('increments of what is gone', counted.sort(), Array.from({ length: 20 }, (_, number) => number + 11));
    checks.equal('MULTI over what is gone', await cluster.multi().incr('{user}count').get('{user}gone').exec(), [31, '1']);
    checks.equal('MULTI over what is here', await cluster.multi().append('{user}here', '!').get('{user}here').exec(), [2, '2!']);
    await checks.rejects('both at once', cluster.mGet(['{user}gone', '{user}here']), SimpleError, 'TRYAGAIN Multiple keys request during rehashing of slot');
  } finally {
    await topology('finish', slot, target);
  }
  checks.equal('all together again', await cluster.mGet(['{user}gone', '{user}here', '{user}count']), ['1', '2!', '31']);
  checks.equal('the client has learned the owner', owner(cluster, slot), target);
}

// INCR; two counters of one slot in one MULTI, which never differ; and WATCH, GET,
// MULTI, SET and EXEC on the owner's own client, which nobody redirects.
async function counted(checks, protocol, name, slots, change) {
  const keys = slots.map((slot) => `${name}:incr:{${TAGS[slot]}}`);
  const twins = slots.map((slot) => `${name}:multi:{${TAGS[slot]}}`);
  const guarded = slots.map((slot) => `${name}:watch:{${TAGS[slot]}}`);
  const clients = await Promise.all(Array.from({ length: 6 }, () => connect(protocol)));
  const incr = (mine, key) => mine.incr(key);
  const multi = async (mine, key) => {
    const [one, other] = await mine.multi().incr(key).incr(`${key}:twin`).exec();
    if (one !== other) throw new Error(`${one} beside ${other}`);
    return one;
  };
  const watch = async (mine, key) => {
    const node = await mine.getNodeClientForKey(key);
    try {
      await node.watch(key);
      const value = Number(await node.get(key)) + 1;
      await node.multi().set(key, String(value)).exec();
      return value;
    } catch (error) {
      // The next time it asks the new owner; and nothing stays watched at the old.
      await outcome(mine.get(key));
      await outcome(node.unwatch());
      throw error;
    }
  };
  const both = (some, step, [one, other]) => [{ keys: some, client: one, step }, { keys: [...some].reverse(), client: other, step }];
  const asker = await connect(protocol);
  const ledger = await counting(checks, [
    ...both(keys, incr, clients.slice(0, 2)), ...both(twins, multi, clients.slice(2, 4)), ...both(guarded, watch, clients.slice(4)),
  ], change, (key) => asker.get(key));
  for (const key of twins) checks.equal(`${key}: both or none`, await asker.get(key), await asker.get(`${key}:twin`));
  [...clients, asker].forEach((one) => one.destroy());
  return ledger;
}

async function reshard(checks, cluster, protocol) {
  const [source, target] = (await topology('masters')).split('\n');
  const moving = await firstSlots(source, 150);
  const fill = moving.flatMap((slot) => Array.from({ length: 8 }, (_, number) => `fill:{${TAGS[slot]}}${number}`));
  await Promise.all(fill.map((key) => cluster.set(key, key)));
  const slots = [...moving.filter((_, at) => at % 30 === 0), 16000];
  const ledger = await counted(checks, protocol, `reshard${protocol}`, slots, () => topology('reshard', source, target, moving.length));
  checks.equal('no connection broke', [...ledger.unknown.values()].reduce((sum, one) => sum + one), 0);
  const kept = await Promise.all(fill.map((key) => cluster.get(key)));
  checks.hold('no key was lost', kept.every((value, at) => value === fill[at]));
  checks.equal('the slots have moved', [...new Set(moving.map((slot) => owner(cluster, slot)))], [target]);
}

async function failover(checks, cluster, protocol) {
  const master = await topology('owner', 0);
  const replica = await topology('replica', master);
  await counted(checks, protocol, `failover${protocol}`, [0, 100, 6000, 16000], () => topology('failover', replica));
  checks.equal('the client goes there', [await cluster.set(TAGS[0], 'x'), owner(cluster, 0)], ['OK', replica]);
  await topology('failover', master);
  checks.equal('and back', await cluster.get(TAGS[0]), 'x');
}

const checks = new Checks('node-redis-cluster');
for (const protocol of [2, 3]) {
  const cluster = await connect(protocol);
  const parts = [discovery, allSlots, transactions, subscriptions, replicas, halfMigrated, sharded, reshard, failover];
  await checks.run(`RESP${protocol}`, parts, cluster, protocol);
  cluster.destroy();
}
checks.finish();
process.exit(); // whatever a part that ended early has left open
