// ioredis Cluster against node ports: what it discovers, transactions, subscriptions,
// replicas, and that it counts right while slots move and a replica takes over.
import Redis from 'ioredis';
import { Checks } from '../checks.js';
import { apart, counting, firstSlots, gets, NODES, plain, roots, slotOf, TAGS, topology, until } from './nodes.js';

const { Cluster, ReplyError } = Redis;

// It never sends a command again of which it does not know what came of it: an
// increment done twice would otherwise be the client's own.
const connect = (more = {}) => new Cluster(roots, { retryDelayOnFailover: 0, ...more });
const addresses = (nodes) => nodes.map(({ options }) => `${options.host}:${options.port}`).sort();
const owner = (client, slot) => client.slots[slot][0];

async function discovery(checks, client) {
  const masters = (await topology('masters')).split('\n');
  checks.equal('masters', addresses(client.nodes('master')), [...masters].sort());
  checks.equal('replicas', addresses(client.nodes('slave')), (await topology('replicas')).split('\n').sort());
  const ends = [0, 5460, 5461, 10922, 10923, 16383];
  checks.equal('slots have their owners', ends.map((slot) => owner(client, slot)), masters.flatMap((master) => [master, master]));
  const fromReplica = new Cluster([apart(NODES[5])]);
  await fromReplica.ping();
  checks.equal('any node tells the same', addresses(fromReplica.nodes()), [...NODES].sort());
  fromReplica.disconnect();
  checks.equal('CLUSTER KEYSLOT', await client.cluster('KEYSLOT', 'foo'), 12182);
}

async function allSlots(checks, client) {
  const answers = await Promise.all(TAGS.map(async (tag, slot) => [await client.set(`all:{${tag}}`, slot), await client.get(`all:{${tag}}`)]));
  checks.hold('each slot', answers.every(([set, got], slot) => set === 'OK' && got === String(slot)));
  const sizes = await Promise.all(client.nodes('master').map((node) => node.dbsize()));
  checks.equal('DBSIZE adds up', sizes.reduce((sum, size) => sum + size), 16384);
  const pipeline = client.pipeline();
  for (let number = 0; number < 500; number += 1) pipeline.set(`{p}${number}`, number).get(`{p}${number}`);
  const piped = await pipeline.exec();
  checks.hold('a pipeline in order', piped.length === 1000 && piped.every(([error, value], at) => error === null && value === (at % 2 ? String(at >> 1) : 'OK')));
  checks.equal('MSET and MGET with one tag', [await client.mset('{s}1', 'x', '{s}2', 'y'), await client.mget('{s}1', '{s}2', '{s}3')], ['OK', ['x', 'y', null]]);
  await checks.rejects('CROSSSLOT', client.mset('foo', '1', 'bar', '2'), ReplyError, "CROSSSLOT Keys in request don't hash to the same slot");
}

async function transactions(checks, client) {
  checks.equal('MULTI', await client.multi().set('{t}a', '1').incr('{t}a').exec(), [[null, 'OK'], [null, 2]]);
  const wrong = await client.multi().set('{t}a', 'x').hget('{t}a', 'f').set('{t}b', 'y').exec();
  checks.error('WRONGTYPE inside the array', wrong[1][0], ReplyError, 'WRONGTYPE');
  checks.equal('no rollback', await client.get('{t}b'), 'y');
  const other = connect();
  await client.watch('{t}w');
  await other.set('{t}w', '1');
  checks.equal('EXEC over a touched key is null', await client.multi().set('{t}w', '2').exec(), null);
  checks.equal('nothing was written', await client.get('{t}w'), '1');
  await client.watch('{t}w');
  await other.set('{t}w', '3');
  // Without a key ioredis would take any node.
  await client.nodes('master').find((node) => addresses([node])[0] === owner(client, slotOf('{t}'))).unwatch();
  checks.equal('UNWATCH clears the guard', await client.multi().set('{t}w', '4').exec(), [[null, 'OK']]);
  other.disconnect();
  const slot = slotOf('{t}');
  const neighbour = TAGS[slot + 1];
  await checks.rejects('two slots of one node, at EXEC', client.multi().set('{t}a', '5').set(neighbour, '5').exec(), ReplyError, 'CROSSSLOT');
  checks.equal('and nothing of it is stored', [await client.get('{t}a'), await client.get(neighbour)], ['x', null]);
}

async function subscriptions(checks, client) {
  const listener = connect();
  const seen = [];
  listener.on('message', (channel, text) => seen.push(`${channel} ${text}`));
  listener.on('pmessage', (pattern, channel, text) => seen.push(`${pattern} ${channel} ${text}`));
  await listener.subscribe('news');
  await listener.psubscribe('n?ws');
  for (const [number, address] of NODES.entries()) {
    const node = plain(address);
    await node.publish('news', String(number));
    node.disconnect();
  }
  await until(() => seen.length >= 12);
  checks.equal('PUBLISH from each node arrives', seen.sort(), NODES.flatMap((_, number) => [`n?ws news ${number}`, `news ${number}`]).sort());
  listener.disconnect();
}

async function sharded(checks, client) {
  const channels = [1, 6000, 16000].map((slot) => `s:{${TAGS[slot]}}`);
  const listener = connect({ shardedSubscribers: true });
  const seen = [];
  listener.on('smessage', (channel, text) => seen.push(`${channel} ${text}`));
  await listener.ping();
  for (const channel of channels) await listener.ssubscribe(channel);
  for (const channel of channels) checks.equal('SPUBLISH finds its subscriber', await client.spublish(channel, 'x'), 1);
  await until(() => seen.length >= 3);
  checks.equal('and each arrives', seen.sort(), channels.map((channel) => `${channel} x`).sort());

  // A subscription goes where its slot goes.
  const [source, target] = (await topology('masters')).split('\n');
  const [slot] = await firstSlots(source, 1);
  const channel = `f:{${TAGS[slot]}}`;
  await listener.ssubscribe(channel);
  checks.equal('before its slot moves', await client.spublish(channel, 'before'), 1);
  await topology('reshard', source, target, 1);
  // ioredis subscribes anew when it learns of the move: by a redirection, here.
  await listener.get(channel);
  checks.hold('after it has moved', await until(async () => (await client.spublish(channel, 'after')) === 1));
  await until(() => seen.includes(`${channel} after`));
  checks.hold('both arrive', seen.includes(`${channel} before`) && seen.includes(`${channel} after`), seen);
  listener.disconnect();
}

async function replicas(checks, client) {
  const reader = connect({ scaleReads: 'slave' });
  const keys = Array.from({ length: 17 }, (_, number) => `r:{${TAGS[number * 900 + 7]}}`);
  for (const [number, key] of keys.entries()) await client.set(key, number);
  const before = await Promise.all(NODES.map(gets));
  const arrived = async () => (await Promise.all(keys.map((key) => reader.get(key)))).every((value, number) => value === String(number));
  checks.hold('replicas have the values', await until(arrived));
  const after = await Promise.all(NODES.map(gets));
  checks.equal('only replicas were asked', NODES.filter((_, at) => after[at] > before[at]).sort(), (await topology('replicas')).split('\n').sort());
  checks.equal('writes go to the masters', await reader.set(keys[0], 'new'), 'OK');
  const master = owner(client, slotOf(keys[0]));
  const replica = plain(await topology('replica', master));
  await checks.rejects('a replica without READONLY', replica.get(keys[0]), ReplyError, `MOVED ${slotOf(keys[0])} ${master}`);
  await replica.readonly();
  checks.hold('with READONLY', await until(async () => (await replica.get(keys[0])) === 'new'));
  await checks.rejects('but no write', replica.set(keys[0], 'no'), ReplyError, `MOVED ${slotOf(keys[0])} ${master}`);
  replica.disconnect();
  reader.disconnect();
}

async function halfMigrated(checks, client) {
  const slot = 5474; // {user}
  const source = await topology('owner', slot);
  const target = (await topology('masters')).split('\n').find((node) => node !== source);
  await client.mset('{user}gone', '1', '{user}here', '2', '{user}count', '10');
  await topology('half', slot, target, '{user}gone', '{user}count');
  let both;
  try {
    const answers = await Promise.all(Array.from({ length: 40 }, (_, number) => client.get(number % 2 ? '{user}gone' : '{user}here')));
    checks.equal('each key where it is', answers, Array.from({ length: 40 }, (_, number) => (number % 2 ? '1' : '2')));
    const counted = await Promise.all(Array.from({ length: 20 }, () => client.incr('{user}count')));
    checks.equal('increments of what is gone', counted.sort(), Array.from({ length: 20 }, (_, number) => number + 11));
    checks.equal('MULTI over what is gone', await client.multi().incr('{user}count').get('{user}gone').exec(), [[null, 31], [null, '1']]);
    checks.equal('MULTI over what is here', await client.multi().append('{user}here', '!').get('{user}here').exec(), [[null, 2], [null, '2!']]);
    // It asks again after TRYAGAIN, until the rest has moved.
    both = client.mget('{user}gone', '{user}here');
  } finally {
    await topology('finish', slot, target);
  }
  checks.equal('MGET came through TRYAGAIN', await both, ['1', '2!']);
  checks.equal('all together again', await client.mget('{user}gone', '{user}here', '{user}count'), ['1', '2!', '31']);
  checks.equal('the client has learned the owner', owner(client, slot), target);
}

// INCR alone, and two counters of one slot in one MULTI, which never differ. WATCH is
// left out: ioredis sends a transaction again at the new owner, where nothing is watched.
async function counted(checks, name, slots, change) {
  const keys = slots.map((slot) => `${name}:incr:{${TAGS[slot]}}`);
  const twins = slots.map((slot) => `${name}:multi:{${TAGS[slot]}}`);
  const clients = Array.from({ length: 4 }, () => connect());
  const incr = (mine, key) => mine.incr(key);
  const multi = async (mine, key) => {
    const [[, one], [, other]] = await mine.multi().incr(key).incr(`${key}:twin`).exec();
    if (one !== other) throw new Error(`${one} beside ${other}`);
    return one;
  };
  const [first, second, third, fourth] = clients;
  const asker = connect();
  const ledger = await counting(checks, [
    { keys, client: first, step: incr }, { keys: [...keys].reverse(), client: second, step: incr },
    { keys: twins, client: third, step: multi }, { keys: [...twins].reverse(), client: fourth, step: multi },
  ], change, (key) => asker.get(key));
  for (const key of twins) checks.equal(`${key}: both or none`, await asker.get(key), await asker.get(`${key}:twin`));
  [...clients, asker].forEach((one) => one.disconnect());
  return ledger;
}

async function reshard(checks, client) {
  const [source, target] = (await topology('masters')).split('\n');
  const moving = await firstSlots(source, 150);
  const fill = moving.flatMap((slot) => Array.from({ length: 8 }, (_, number) => `fill:{${TAGS[slot]}}${number}`));
  await Promise.all(fill.map((key) => client.set(key, key)));
  const slots = [...moving.filter((_, at) => at % 30 === 0), 16000];
  const ledger = await counted(checks, 'reshard', slots, () => topology('reshard', source, target, moving.length));
  checks.equal('no connection broke', [...ledger.unknown.values()].reduce((sum, one) => sum + one), 0);
  const kept = await Promise.all(fill.map((key) => client.get(key)));
  checks.hold('no key was lost', kept.every((value, at) => value === fill[at]));
  checks.equal('the slots have moved', [...new Set(moving.map((slot) => owner(client, slot)))], [target]);
}

async function failover(checks, client) {
  const master = await topology('owner', 0);
  const replica = await topology('replica', master);
  await counted(checks, 'failover', [0, 100, 6000, 16000], () => topology('failover', replica));
  checks.equal('the client goes there', [await client.set(TAGS[0], 'x'), owner(client, 0)], ['OK', replica]);
  await topology('failover', master);
  checks.equal('and back', await client.get(TAGS[0]), 'x');
}

const checks = new Checks('ioredis-cluster');
const client = connect();
client.on('error', (error) => checks.hold('the client stays well', false, error.message));
await client.ping();
await Promise.all(client.nodes('master').map((node) => node.flushall()));
await checks.run('', [discovery, allSlots, transactions, subscriptions, replicas, halfMigrated, sharded, reshard, failover], client);
client.disconnect();
checks.finish();
process.exit(); // whatever a part that ended early has left open
