// BullMQ as its documentation uses it: a queue, a worker, delays, priorities, retries, a
// flow of jobs, a schedule, events. Every step is a script.
//
//     bullmq.js PORT as-written|hashtags

import { FlowProducer, Queue, QueueEvents, Worker } from 'bullmq';

const [port, variant] = [Number(process.argv[2]), process.argv[3]];
const connection = { host: '127.0.0.1', port, maxRetriesPerRequest: null };
const options = variant === 'hashtags' ? { connection, prefix: '{bull}' } : { connection };

const queue = new Queue('paint', options);
const events = new QueueEvents('paint', options);
await events.waitUntilReady();
const worker = new Worker('paint', async job => {
    await job.updateProgress(50);
    if (job.name === 'flaky' && job.attemptsMade === 0) throw new Error('as asked');
    return job.data;
}, { ...options, concurrency: 2 });

const jobs = [
    await queue.add('cars', { colour: 'blue' }),
    await queue.add('cars', { colour: 'red' }, { priority: 5 }),
    await queue.add('cars', { colour: 'green' }, { delay: 200 }),
    await queue.add('flaky', {}, { attempts: 2 }),
    ...await queue.addBulk([1, 2, 3].map(number => ({ name: 'bulk', data: { number } }))),
];
await Promise.all(jobs.map(job => job.waitUntilFinished(events, 20000)));

const flow = new FlowProducer(options);
const { job } = await flow.add({
    name: 'parent', queueName: 'paint', data: {},
    children: [{ name: 'child', queueName: 'paint', data: {} }, { name: 'child', queueName: 'paint', data: {} }],
});
await job.waitUntilFinished(events, 20000);

await queue.upsertJobScheduler('nightly', { every: 60000 }, { name: 'nightly' });
await queue.removeJobScheduler('nightly');
await queue.pause();
await queue.add('later', {});
await queue.getJobCounts();
await queue.getJobs(['completed', 'waiting', 'paused']);
await queue.resume();
await worker.close();
await queue.clean(0, 100, 'completed');
await queue.drain();
await queue.obliterate({ force: true });
await Promise.all([queue.close(), events.close(), flow.close()]);
process.exit(0);
