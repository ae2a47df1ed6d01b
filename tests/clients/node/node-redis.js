// @redis/client (node-redis) over RESP2 and RESP3: it pipelines by itself
// whatever is asked in one turn of the event loop, and has classes of its own
// for a lost WATCH and for a transaction with errors in it.
import { createClient, MultiErrorReply, SimpleError, WatchError } from '@redis/client';
import { Checks, options, outcome } from './checks.js';

const WORKERS = 8;
const COMMITS = 30;

async function connect(protocol, more = {}) {
  const client = createClient({ RESP: protocol, socket: { host: options.host, port: options.port }, ...more });
  client.on('error', () => {}); // a kill is reported here too; the checks look at the outcome
  return client.connect();
}

async function values(checks, client) {
  checks.equal('SET', await client.set('s:a', '1'), 'OK');
  checks.equal('GET', await client.get('s:a'), '1');
  checks.equal('GET of nothing', await client.get('s:none'), null);
  checks.equal('INCRBY', await client.incrBy('s:a', 41), 42);
  checks.equal('HSET', await client.hSet('h', { name: 'ada', born: '1815' }), 2);
  checks.equal('HGETALL', { ...(await client.hGetAll('h')) }, { name: 'ada', born: '1815' });
  checks.equal('HMGET', await client.hmGet('h', ['name', 'none']), ['ada', null]);
  checks.equal('EXPIRE', await client.expire('h', 100), 1);
  const ttl = await client.ttl('h');
  checks.hold('TTL', ttl >= 95 && ttl <= 100, ttl);
  const answers = await Promise.all(Array.from({ length: 2000 }, (_, number) => client.set(`p:${number}`, String(number)).then(() => client.get(`p:${number}`))));
  checks.hold('2000 at once over all slots', answers.every((answer, number) => answer === String(number)));
  const found = new Set();
  for await (const keys of client.scanIterator({ MATCH: 'p:*', COUNT: 100 })) keys.forEach((key) => found.add(key));
  checks.equal('scanIterator finds every key of every shard', found.size, 2000);
}

async function transactions(checks, client, protocol) {
  checks.equal('MULTI', await client.multi().set('{t}a', '1').incr('{t}a').exec(), ['OK', 2]);
  const wrong = await outcome(client.multi().set('{t}a', 'x').hGet('{t}a', 'f').set('{t}b', 'y').exec());
  checks.error('an error inside the array', wrong, MultiErrorReply, '1 commands failed');
  checks.equal('in its place', wrong.errorIndexes, [1]);
  checks.error('WRONGTYPE', wrong.replies?.[1], SimpleError, 'WRONGTYPE');
  checks.equal('no rollback', await client.get('{t}b'), 'y');

  const other = await connect(protocol);
  await other.watch('{t}w');
  await client.set('{t}w', '1');
  await checks.rejects('a touched key', other.multi().set('{t}w', '2').exec(), WatchError, '');
  checks.equal('nothing was written', await client.get('{t}w'), '1');

  await client.set('{c}count', '0');
  await Promise.all(Array.from({ length: WORKERS }, async () => {
    const mine = await connect(protocol);
    for (let done = 0; done < COMMITS;) {
      await mine.watch('{c}count');
      const value = Number(await mine.get('{c}count'));
      try {
        await mine.multi().set('{c}count', String(value + 1)).exec();
        done += 1;
      } catch (error) {
        if (!(error instanceof WatchError)) throw error;
      }
    }
    await mine.close();
  }));
  checks.equal('the sum is the number of commits', await client.get('{c}count'), String(WORKERS * COMMITS));
  await other.close();
}

async function refusals(checks, client) {
  await client.set('r:text', 'x');
  await checks.rejects('WRONGTYPE', client.hGet('r:text', 'f'), SimpleError, 'WRONGTYPE');
  await checks.rejects('MSET over two slots', client.mSet({ foo: '1', bar: '2' }), SimpleError, "CROSSSLOT Keys in request don't hash to the same slot");
  const crossing = await outcome(client.multi().set('foo', '1').set('bar', '2').exec());
  // This client hands on the first error of the batch: the router's from the
  // queue, a node's from EXEC.
  checks.error('MULTI over two slots', crossing, SimpleError, "CROSSSLOT Keys in request don't hash to the same slot");
  checks.equal('and nothing of it is stored', [await client.get('foo'), await client.get('bar')], [null, null]);
}

async function connections(checks, client, protocol) {
  const named = await connect(protocol, { name: 'node-worker' });
  checks.equal('the name given at connect', await named.clientGetName(), 'node-worker');
  const own = await named.clientInfo();
  checks.equal('CLIENT INFO', [own.name, Number(own.resp)], ['node-worker', protocol]);
  const listed = (await client.clientList()).filter((one) => one.name === 'node-worker');
  checks.equal('CLIENT LIST', listed.map((one) => one.id), [own.id]);
  const again = new Promise((resolve) => named.once('ready', resolve));
  checks.equal('CLIENT KILL ID', await client.clientKill({ filter: 'ID', id: own.id }), 1);
  await again;
  checks.equal('a killed client reconnects by itself, under its name', await named.clientGetName(), 'node-worker');
  checks.hold('with a new id', (await named.clientId()) !== own.id);
  await named.close();
}

const checks = new Checks('node-redis');
for (const protocol of [2, 3]) {
  const client = await connect(protocol);
  await client.flushAll();
  await checks.run(`RESP${protocol}`, [values, transactions, refusals, connections], client, protocol);
  await client.close();
}
checks.finish();
