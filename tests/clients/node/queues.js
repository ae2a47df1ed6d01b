// Job queues and locks for Node, whose every step is a script: Bull, BullMQ and redlock.
// On the router port through ioredis; where SLOTWAY_NODES names nodes, through ioredis'
// Cluster. A prefix in braces keeps a queue in one slot.
import { once } from 'node:events';
import Bull from 'bull';
import { FlowProducer, Queue, QueueEvents, UnrecoverableError, Worker } from 'bullmq';
import Redis from 'ioredis';
import Redlock from 'redlock';
import { Checks, options, outcome } from './checks.js';

const NODES = process.env.SLOTWAY_NODES?.split(' ').filter(Boolean) ?? [];
const JOBS = 100;
const PREFIX = '{bull}';

const clients = [];
const kept = (client) => { clients.push(client); return client; };
const plain = (more) => kept(new Redis(NODES.length ? `redis://${NODES[0]}` : `redis://${options.host}:${options.port}`, more));
/** A client of its own, of the port or of all nodes. */
const connect = (more) => (NODES.length ? kept(new Redis.Cluster([`redis://${NODES[0]}`], { redisOptions: more })) : plain(more));
const forQueues = { maxRetriesPerRequest: null, enableReadyCheck: false };
const connectQueue = () => connect(forQueues);
// A Cluster's own subscriber may reject a SUBSCRIBE that comes before it has its reply to
// INFO: "Connection in subscriber mode". Any node has all messages.
const createClient = (kind) => (kind === 'subscriber' ? plain(forQueues) : connectQueue());

/** How the jobs ran that did not run exactly once. */
const notOnce = (runs, jobs) => jobs.filter((job) => runs.filter((run) => run === job).length !== 1);
const names = (name, count) => Array.from({ length: count }, (_, number) => `${name}:${number}`);

// Bull: BRPOPLPUSH, jobs in hashes, delayed ones in a sorted set, pub/sub.
async function bull(checks) {
  const open = (name, more = {}) => new Bull(name, { prefix: PREFIX, createClient, ...more });
  const queue = open('paint').setMaxListeners(0); // one for each job that is awaited
  const runs = [];
  queue.process('*', 4, async (job) => {
    runs.push(job.data);
    if (job.name === 'flaky' && job.attemptsMade < 2) throw new Error(`attempt ${job.attemptsMade}`);
    if (job.name === 'wrong') throw new Error('as asked');
    await job.progress(50);
    return `${job.data} done`;
  });
  const jobs = await Promise.all(names('job', JOBS).map((data) => queue.add('plain', data)));
  const results = await Promise.all(jobs.map((job) => job.finished()));
  checks.equal('every result arrives', results, names('job', JOBS).map((job) => `${job} done`));
  checks.equal('every job ran once', notOnce(runs, names('job', JOBS)), []);
  const bulk = await queue.addBulk(names('bulk', 20).map((data) => ({ name: 'bulk', data })));
  await Promise.all(bulk.map((job) => job.finished()));
  checks.equal('those in bulk, too', notOnce(runs, names('bulk', 20)), []);
  const flaky = await queue.add('flaky', 'flaky', { attempts: 3, backoff: { type: 'fixed', delay: 20 } });
  checks.equal('two failures, then success', [await flaky.finished(), runs.filter((run) => run === 'flaky').length], ['flaky done', 3]);
  const wrong = await queue.add('wrong', 'wrong');
  checks.equal('a failure reaches the caller', (await outcome(wrong.finished())).message, 'as asked');
  checks.equal('and is kept', (await queue.getFailed()).map(({ data, failedReason }) => [data, failedReason]), [['wrong', 'as asked']]);
  const sent = Date.now();
  const late = await queue.add('late', 'late', { delay: 300 });
  await late.finished();
  checks.hold('nothing runs before its time', Date.now() >= sent + 300);
  await queue.pause();
  const [low, high] = [await queue.add('plain', 'low', { priority: 9 }), await queue.add('plain', 'high', { priority: 1 })];
  await queue.resume();
  await Promise.all([low.finished(), high.finished()]);
  checks.hold('the most urgent first', runs.indexOf('high') < runs.indexOf('low'), runs.slice(-2));
  checks.equal('counts', await queue.getJobCounts(), { waiting: 0, active: 0, completed: JOBS + 20 + 4, failed: 1, delayed: 0, paused: 0 });
  checks.equal('cleaned', (await queue.clean(0, 'completed')).length, JOBS + 20 + 4);

  const limited = open('limited', { limiter: { max: 3, duration: 400 } });
  const times = [];
  limited.process(async () => { times.push(Date.now()); });
  const few = await limited.addBulk(names('few', 5).map((data) => ({ data })));
  await Promise.all(few.map((job) => job.finished()));
  checks.hold('three in a window, the others later', times.length === 5 && times[3] - times[0] >= 300, times.map((time) => time - times[0]));
  await limited.close();

  await queue.obliterate({ force: true });
  checks.equal('nothing is left', await queue.getJobCounts(), { waiting: 0, active: 0, completed: 0, failed: 0, delayed: 0, paused: 0 });
  await queue.close();
}

// A worker that takes a job and is never heard of again: another one gets it.
async function bullStalled(checks) {
  const open = (more) => new Bull('stalled', { prefix: PREFIX, createClient, settings: { lockDuration: 500, stalledInterval: 250, ...more } });
  const first = open({ lockRenewTime: 60_000 });
  const job = await first.add({});
  const taken = new Promise((resolve) => { first.process(() => { resolve(); return new Promise(() => {}); }); });
  await taken;
  const second = open({});
  const stalled = Promise.race([first, second].map((one) => once(one, 'stalled'))); // either may look
  second.process(() => 'by the second');
  checks.equal('the job is delivered again', await job.finished(), 'by the second');
  checks.equal('as one that stalled', (await stalled)[0].id, job.id);
  await second.close();
  await first.close(true);
}

// BullMQ writes an event to a stream at every step.
async function bullmq(checks, client) {
  const given = { connection: connectQueue(), prefix: PREFIX };
  const queue = new Queue('paint', given);
  queue.setMaxListeners(0); // one for each job that is added at once
  const events = new QueueEvents('paint', { ...given, connection: connectQueue() });
  await events.waitUntilReady();
  const runs = [];
  const worker = new Worker('paint', async (job) => {
    runs.push(job.data);
    if (job.name === 'flaky' && job.attemptsMade < 2) throw new Error(`attempt ${job.attemptsMade}`);
    if (job.name === 'wrong') throw new UnrecoverableError('as asked');
    await job.updateProgress(50);
    if (job.name === 'parent') return Object.values(await job.getChildrenValues()).sort();
    return `${job.data} done`;
  }, { ...given, connection: connectQueue(), concurrency: 4 });
  const end = (job) => job.waitUntilFinished(events, 20_000);
  const jobs = await Promise.all(names('job', JOBS).map((data) => queue.add('plain', data)));
  checks.equal('every result arrives', await Promise.all(jobs.map(end)), names('job', JOBS).map((job) => `${job} done`));
  checks.equal('every job ran once', notOnce(runs, names('job', JOBS)), []);
  const flaky = await queue.add('flaky', 'flaky', { attempts: 3, backoff: { type: 'fixed', delay: 20 } });
  checks.equal('two failures, then success', [await end(flaky), runs.filter((run) => run === 'flaky').length], ['flaky done', 3]);
  const wrong = await queue.add('wrong', 'wrong', { attempts: 3 });
  checks.equal('a failure reaches the caller', (await outcome(end(wrong))).message, 'as asked');
  const sent = Date.now();
  await end(await queue.add('late', 'late', { delay: 300 }));
  checks.hold('nothing runs before its time', Date.now() >= sent + 300);
  const flow = new FlowProducer({ ...given, connection: connectQueue() });
  const child = (data) => ({ name: 'child', queueName: 'paint', data });
  const tree = await flow.add({ name: 'parent', queueName: 'paint', data: 'parent', children: [child('one'), child('two')] });
  checks.equal('a flow: the parent gets its children\'s results', await end(tree.job), ['one done', 'two done']);
  await queue.upsertJobScheduler('often', { every: 100 }, { name: 'often', data: 'often' });
  while (runs.filter((run) => run === 'often').length < 3) await once(worker, 'completed');
  checks.hold('a schedule', await queue.removeJobScheduler('often'));

  const limited = new Queue('limited', given);
  const times = [];
  const slow = new Worker('limited', async () => { times.push(Date.now()); }, { ...given, connection: connectQueue(), limiter: { max: 3, duration: 400 } });
  await limited.addBulk(names('few', 5).map((data) => ({ name: 'few', data })));
  while (times.length < 5) await once(slow, 'completed');
  checks.hold('three in a window, the others later', times[3] - times[0] >= 300, times.map((time) => time - times[0]));
  await Promise.all([worker.close(), slow.close(), flow.close(), events.close()]);
  await queue.obliterate({ force: true });
  checks.equal('nothing is left', await queue.getJobCounts('waiting', 'completed', 'failed', 'delayed'), { waiting: 0, completed: 0, failed: 0, delayed: 0 });
  await Promise.all([limited.obliterate({ force: true }), queue.close(), limited.close()]);
}

// Several resources by one script over all of their keys.
async function locks(checks, client) {
  const keys = ['{account}1', '{account}2'];
  await client.set('{account}count', 0);
  await Promise.all(Array.from({ length: 6 }, async () => {
    const mine = new Redlock([connect()], { retryCount: 2000, retryDelay: 5, retryJitter: 5 });
    for (let turn = 0; turn < 10; turn += 1) {
      const lock = await mine.lock(keys, 20_000);
      await client.set('{account}count', Number(await client.get('{account}count')) + 1);
      await lock.unlock();
    }
  }));
  checks.equal('redlock: one at a time', await client.get('{account}count'), '60');
  const [one, other] = [connect(), connect()].map((mine) => new Redlock([mine], { retryCount: 0 }));
  const lock = await one.lock(keys, 1000);
  checks.equal('held', (await outcome(other.lock(keys[1], 1000))).name, 'LockError');
  await lock.extend(20_000);
  checks.hold('extended', (await client.pttl(keys[1])) > 1000);
  await client.set(keys[0], 'another\'s');
  checks.equal('lost: not extended', (await outcome(lock.extend(1000))).name, 'LockError');
  await outcome(lock.unlock());
  checks.equal('what is left is another\'s', await client.mget(keys), ['another\'s', null]);
  await client.del(keys[0]);
  // redlock hides the reason: it only counts which servers agreed.
  checks.equal('two slots: no quorum', (await outcome(other.lock(['foo', 'bar'], 1000))).name, 'LockError');
}

const checks = new Checks(NODES.length ? 'node-queues-cluster' : 'node-queues');
const client = connect();
await client.ping();
await Promise.all(NODES.length ? client.nodes('master').map((node) => node.flushall()) : [client.flushall()]);
await checks.run('', [bull, bullStalled, bullmq, locks], client);
clients.forEach((one) => one.disconnect());
checks.finish();
process.exit(); // whatever a part that ended early has left open
