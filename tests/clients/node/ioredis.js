// ioredis, which speaks RESP2: its pipelines, transactions and errors, many
// workers against one watched key, and what happens when it is killed.
import Redis from 'ioredis';
import { Checks, options, outcome } from './checks.js';

const { ReplyError } = Redis;
const WORKERS = 8;
const COMMITS = 30;

const connect = (more = {}) => new Redis({ host: options.host, port: options.port, ...more });

async function values(checks, client) {
  checks.equal('SET', await client.set('s:a', '1'), 'OK');
  checks.equal('GET', await client.get('s:a'), '1');
  checks.equal('GET of nothing', await client.get('s:none'), null);
  checks.equal('SET NX over a value', await client.set('s:a', '2', 'NX'), null);
  checks.equal('INCRBY', await client.incrby('s:a', 41), 42);
  checks.equal('MSET and MGET with one tag', [await client.mset('{s}1', 'x', '{s}2', 'y'), await client.mget('{s}1', '{s}2', '{s}3')], ['OK', ['x', 'y', null]]);
  const bytes = Buffer.from(Array.from({ length: 1 << 20 }, (_, index) => index & 255));
  await client.set('s:bytes', bytes);
  checks.hold('1 MiB of every byte comes back', bytes.equals(await client.getBuffer('s:bytes')));
  checks.equal('HSET', await client.hset('h', { name: 'ada', born: '1815' }), 2);
  checks.equal('HGETALL', await client.hgetall('h'), { name: 'ada', born: '1815' });
  checks.equal('HMGET', await client.hmget('h', 'name', 'none'), ['ada', null]);
  checks.equal('HINCRBY', await client.hincrby('h', 'born', 37), 1852);
  checks.equal('EXPIRE', await client.expire('h', 100), 1);
  const ttl = await client.ttl('h');
  checks.hold('TTL', ttl >= 95 && ttl <= 100, ttl);
  checks.equal('PERSIST', [await client.persist('h'), await client.ttl('h')], [1, -1]);
}

async function sketches(checks, client) {
  checks.equal('SETBIT', [await client.setbit('b', 7, 1), await client.setbit('b', 7, 1)], [0, 1]);
  checks.equal('GETBIT', [await client.getbit('b', 7), await client.getbit('b', 8)], [1, 0]);
  await client.set('{b}2', 'foobar');
  checks.equal('BITCOUNT', [await client.bitcount('{b}2'), await client.bitcount('{b}2', 5, 30, 'BIT')], [26, 17]);
  checks.equal('BITPOS', await client.bitpos('{b}2', 1), 1);
  checks.equal('BITOP', await client.bitop('NOT', '{b}3', '{b}2'), 6);
  checks.equal('BITFIELD', await client.bitfield('{b}4', 'SET', 'u8', '#0', 250, 'OVERFLOW', 'FAIL', 'INCRBY', 'u8', '#0', 10), [0, null]);
  checks.equal('PFADD', [await client.pfadd('p', 'a', 'b', 'c'), await client.pfadd('p', 'a')], [1, 0]);
  checks.equal('PFMERGE', [await client.pfmerge('{p}2', 'p'), await client.pfcount('p', '{p}2')], ['OK', 3]);
  const bytes = await client.getBuffer('p');
  await client.set('{p}3', bytes);
  checks.equal('PFCOUNT of bytes that were set', await client.pfcount('{p}3'), 3);
  checks.equal('GEOADD', await client.geoadd('g', 13.361389, 38.115556, 'Palermo', 15.087269, 37.502669, 'Catania'), 2);
  checks.equal('GEODIST', await client.geodist('g', 'Palermo', 'Catania', 'KM'), '166.2742');
  const around = ['FROMLONLAT', 15, 37, 'BYRADIUS', 200, 'km', 'ASC'];
  checks.equal('GEOSEARCH', await client.geosearch('g', ...around, 'WITHDIST'), [['Catania', '56.4413'], ['Palermo', '190.4424']]);
  checks.equal('GEOSEARCHSTORE', await client.geosearchstore('{g}2', 'g', ...around), 2);
  checks.equal('GEORADIUS', await client.georadius('g', 15, 37, 100, 'km'), ['Catania']);
}

async function streams(checks, client) {
  checks.equal('XGROUP CREATE', await client.xgroup('CREATE', 'x', 'readers', '$', 'MKSTREAM'), 'OK');
  const waiting = connect();
  const read = waiting.xreadgroup('GROUP', 'readers', 'one', 'COUNT', 10, 'BLOCK', 20_000, 'STREAMS', 'x', '>');
  const id = await client.xadd('x', '*', 'n', '1', 'bytes', Buffer.from([0, 13, 10, 255]).toString('latin1'));
  checks.equal('a blocked XREADGROUP is woken', (await read).map(([key, entries]) => [key, entries.map(([each]) => each)]), [['x', [id]]]);
  waiting.disconnect();
  const ids = (await client.pipeline(Array.from({ length: 100 }, (_, n) => ['xadd', 'x', '*', 'n', n])).exec()).map(([, each]) => each);
  checks.equal('XRANGE pages', (await client.xrange('x', `(${ids[9]}`, '+', 'COUNT', 5)).map(([each]) => each), ids.slice(10, 15));
  checks.equal('XACK once', [await client.xack('x', 'readers', id), await client.xack('x', 'readers', id)], [1, 0]);
  const later = connect();
  const unblocked = outcome(later.xreadgroup('GROUP', 'readers', 'two', 'BLOCK', 0, 'STREAMS', 'x', '>'));
  checks.equal('unread entries come at once', (await unblocked)[0][1].length, 100);
  const gone = outcome(later.xreadgroup('GROUP', 'readers', 'two', 'BLOCK', 0, 'STREAMS', 'x', '>'));
  while (!(await client.client('LIST')).includes('flags=b')) await new Promise(setImmediate);
  await client.del('x');
  checks.error('the stream goes', await gone, ReplyError, 'no longer exists');
  later.disconnect();
}

async function pipelines(checks, client) {
  const pipeline = client.pipeline();
  for (let number = 0; number < 2000; number += 1) pipeline.set(`p:${number}`, number).get(`p:${number}`);
  const answers = await pipeline.exec();
  const right = answers.every(([error, value], index) => error === null && value === (index % 2 ? String(index >> 1) : 'OK'));
  checks.hold('4000 answers over all slots, in order', right && answers.length === 4000);
  const [first, second, third] = await client.pipeline().set('p:text', 'x').incr('p:text').get('p:text').exec();
  checks.equal('around an error', [first, third], [[null, 'OK'], [null, 'x']]);
  checks.error('the error in its place', second[0], ReplyError, 'value is not an integer or out of range');
  const found = new Set();
  for await (const keys of client.scanStream({ match: 'p:*', count: 100 })) keys.forEach((key) => found.add(key));
  checks.equal('scanStream finds every key of every shard', found.size, 2001);
}

async function transactions(checks, client) {
  checks.equal('MULTI', await client.multi().set('{t}a', '1').incr('{t}a').exec(), [[null, 'OK'], [null, 2]]);
  const wrong = await client.multi().set('{t}a', 'x').hget('{t}a', 'f').set('{t}b', 'y').exec();
  checks.equal('around a failing command', [wrong[0], wrong[2]], [[null, 'OK'], [null, 'OK']]);
  checks.error('WRONGTYPE inside the array', wrong[1][0], ReplyError, 'WRONGTYPE');
  checks.equal('no rollback', await client.get('{t}b'), 'y');

  const other = connect();
  await client.watch('{t}w');
  await other.set('{t}w', '1');
  checks.equal('EXEC over a touched key is null', await client.multi().set('{t}w', '2').exec(), null);
  checks.equal('nothing was written', await client.get('{t}w'), '1');
  await client.watch('{t}w');
  await other.set('{t}w', '3');
  await client.unwatch();
  checks.equal('UNWATCH clears the guard', await client.multi().set('{t}w', '4').exec(), [[null, 'OK']]);
  await other.quit();
}

async function contention(checks, client) {
  await client.set('{c}count', 0);
  await Promise.all(Array.from({ length: WORKERS }, async () => {
    const mine = connect();
    for (let done = 0; done < COMMITS;) {
      await mine.watch('{c}count');
      const value = Number(await mine.get('{c}count'));
      if (await mine.multi().set('{c}count', value + 1).exec()) done += 1;
    }
    await mine.quit();
  }));
  checks.equal('the sum is the number of commits', await client.get('{c}count'), String(WORKERS * COMMITS));
}

async function refusals(checks, client) {
  await client.set('r:text', 'x');
  await checks.rejects('WRONGTYPE', client.hget('r:text', 'f'), ReplyError, 'WRONGTYPE Operation against a key');
  await checks.rejects('unknown command', client.call('NOSUCH', 'x'), ReplyError, "unknown command 'NOSUCH'");
  await checks.rejects('MSET over two slots', client.mset('foo', '1', 'bar', '2'), ReplyError, "CROSSSLOT Keys in request don't hash to the same slot");
  await checks.rejects('WATCH over two slots', client.watch('foo', 'bar'), ReplyError, 'CROSSSLOT');
  // A WATCH that failed must not leave the next EXEC unguarded: clear it first.
  await client.unwatch();
  const crossing = await outcome(client.multi().set('foo', '1').set('bar', '2').exec());
  if (options.reference) {
    checks.error('MULTI over two slots, at EXEC', crossing, ReplyError, 'CROSSSLOT');
  } else {
    checks.error('MULTI over two slots', crossing, ReplyError, 'EXECABORT Transaction discarded because of previous errors');
    checks.error('refused when it was queued', crossing.previousErrors?.[0], ReplyError, 'CROSSSLOT');
  }
  checks.equal('and nothing of it is stored', [await client.get('foo'), await client.get('bar')], [null, null]);
  const aborted = await outcome(client.multi().set('{r}a', '1').call('NOSUCH').exec());
  checks.error('unknown command in MULTI', aborted, ReplyError, 'EXECABORT');
  checks.error('named in previousErrors', aborted.previousErrors?.[0], ReplyError, 'unknown command');
  checks.equal('and nothing of it ran', await client.get('{r}a'), null);
}

async function connections(checks, client) {
  const named = connect({ connectionName: 'io-worker' });
  checks.equal('the name given at connect', await named.client('GETNAME'), 'io-worker');
  const id = await named.client('ID');
  const line = (await client.client('LIST')).split('\n').find((one) => one.includes(' name=io-worker '));
  checks.hold('CLIENT LIST', line?.startsWith(`id=${id} `), line);
  checks.hold('CLIENT INFO', (await named.client('INFO')).includes(`id=${id} `));
  const open = connect({ retryStrategy: null, enableReadyCheck: false });
  const victim = await open.client('ID');
  const closed = new Promise((resolve) => open.once('end', resolve));
  await open.multi({ pipeline: false });
  await open.set('k:queued', '1');
  checks.equal('CLIENT KILL ID', await client.client('KILL', 'ID', victim), 1);
  await closed;
  checks.equal('a killed connection\'s queue never runs', await client.get('k:queued'), null);
  checks.equal('CLIENT KILL ID', await client.client('KILL', 'ID', id), 1);
  checks.equal('a killed client reconnects by itself', await named.set('k:again', '1'), 'OK');
  checks.equal('under its name', await named.client('GETNAME'), 'io-worker');
  checks.hold('with a new id', (await named.client('ID')) !== id);
  await named.quit();
}

const checks = new Checks('ioredis');
const client = connect();
await client.flushall();
await checks.run('', [values, sketches, streams, pipelines, transactions, contention, refusals, connections], client);
await client.quit();
checks.finish();
