// What the checks of both clients share: the way to tests/clients/topology, a key for
// each slot, and the ledger of increments. The cluster comes from the environment.
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { WatchError } from '@redis/client';
import slotOf from 'cluster-key-slot';
import Redis from 'ioredis';

export { slotOf };
export const NODES = process.env.SLOTWAY_NODES.split(' ');
export const roots = NODES.slice(0, 1).map(apart);
// How long anything may take that is due at once.
const PATIENCE_MS = 20_000;

const script = fileURLToPath(new URL('../../topology', import.meta.url));
const run = promisify(execFile);

/** One order of the script; what it prints. It bounds its own waits. */
export async function topology(...words) {
  const { stdout } = await run(script, words.map(String), { timeout: 60_000, maxBuffer: 1 << 24 });
  return stdout.trim();
}

export function apart(address) {
  const colon = address.lastIndexOf(':');
  return { host: address.slice(0, colon), port: Number(address.slice(colon + 1)) };
}

/** One node, without what a cluster client does about redirections. */
export const plain = (address) => new Redis({ ...apart(address), enableReadyCheck: false });

/** The first decimal number in each slot, to stand between braces. */
export const TAGS = [];
for (let number = 0, found = 0; found < 16384; number += 1) {
  const slot = slotOf(String(number));
  if (TAGS[slot] === undefined) {
    TAGS[slot] = String(number);
    found += 1;
  }
}

/** What `topology reshard` takes from that node. */
export async function firstSlots(node, count) {
  const found = [];
  for (const part of (await topology('slots', node)).split(' ')) {
    const [low, high = low] = part.split('-').map(Number);
    for (let slot = low; slot <= high; slot += 1) found.push(slot);
  }
  return found.slice(0, count);
}

/** Asks again until the answer is true or it has taken too long; the last answer. */
export async function until(ask) {
  const deadline = Date.now() + PATIENCE_MS;
  for (;;) {
    const answer = await ask();
    if (answer || Date.now() > deadline) return answer;
    await new Promise(setImmediate);
  }
}

/** How many GETs that node has run. */
export async function gets(address) {
  const node = plain(address);
  const told = /^cmdstat_get:calls=(\d+)/m.exec(await node.info('commandstats'));
  node.disconnect();
  return Number(told?.[1] ?? 0);
}

/**
 * What increments came to. The answers to a key's increments are all different, or one
 * was lost; a key's value lies between the number of answers and that plus the number
 * of increments of unknown outcome, or one was lost or done twice.
 */
export class Ledger {
  constructor(keys) {
    this.answers = new Map(keys.map((key) => [key, []]));
    this.unknown = new Map(keys.map((key) => [key, 0]));
    this.surprises = [];
  }

  /** An increment ended in this error. */
  broken(key, error) {
    if (error instanceof WatchError || /^(ASK|CLUSTERDOWN|MOVED|TRYAGAIN|Too many Cluster redirections)/.test(error.message)) return;
    if (/Connection is closed|Socket closed|Disconnects client|client is closed/i.test(error.message)) {
      this.unknown.set(key, this.unknown.get(key) + 1);
    } else {
      this.surprises.push(`${key}: ${error.name} ${error.message}`);
    }
  }

  total() {
    return [...this.answers.values()].reduce((sum, answers) => sum + answers.length, 0);
  }

  /** `value` asks for a key's value at the end. */
  async check(checks, value) {
    checks.equal('no unexpected error', this.surprises.slice(0, 3), []);
    for (const [key, answers] of this.answers) {
      const [low, high, final] = [answers.length, answers.length + this.unknown.get(key), Number(await value(key))];
      checks.equal(`${key}: every answer is another number`, new Set(answers).size, low);
      checks.hold(`${key}: nothing lost, nothing twice`, low <= final && final <= high, `${final}, of ${low} answered and ${high - low} of unknown outcome`);
    }
  }
}

/**
 * Counts while `change` goes on. A worker takes a key and a client of its own and adds
 * one, again and again; it gives the number that it came to, or nothing if that failed.
 */
export async function counting(checks, workers, change, value) {
  const ledger = new Ledger([...new Set(workers.flatMap(({ keys }) => keys))]);
  let over = false;
  const running = workers.map(async ({ keys, client, step }) => {
    while (!over) {
      for (const key of keys) {
        try {
          ledger.answers.get(key).push(await step(client, key));
        } catch (error) {
          ledger.broken(key, error);
        }
        await new Promise(setImmediate);
      }
    }
  });
  try {
    await until(() => [...ledger.answers.values()].every((answers) => answers.length));
    const before = ledger.total();
    await change();
    const after = ledger.total();
    checks.hold('counted meanwhile', after > before, `${before}, then ${after}`);
    checks.hold('and goes on', await until(() => ledger.total() > after + 200));
  } finally {
    over = true;
    await Promise.all(running);
  }
  await ledger.check(checks, value);
  return ledger;
}
