// Counts what holds and says what does not; the closing line reads
// `name: N passed, M failed`. HOST and PORT come from the arguments or the
// environment; with --reference the server is a real Redis node and the
// router's own rules are left out.
import { isDeepStrictEqual, inspect } from 'node:util';

const given = process.argv.slice(2).filter((word) => !word.startsWith('--'));
export const options = {
  host: given[0] ?? process.env.SLOTWAY_HOST ?? '127.0.0.1',
  port: Number(given[1] ?? process.env.SLOTWAY_PORT ?? 7000),
  reference: process.argv.includes('--reference') || process.env.SLOTWAY_REFERENCE === '1',
};

export class Checks {
  constructor(name) {
    Object.assign(this, { name, part: '', passed: 0, failed: 0 });
  }

  hold(what, truth, seen = '') {
    if (truth) {
      this.passed += 1;
    } else {
      this.failed += 1;
      console.error(`FAILED  ${this.part}: ${what} ${seen}`);
    }
  }

  equal(what, actual, expected) {
    this.hold(what, isDeepStrictEqual(actual, expected), `\n  expected ${inspect(expected)}\n  actual   ${inspect(actual)}`);
  }

  /** `actual` is an error of this class with this text in its message. */
  error(what, actual, kind, text) {
    const right = actual instanceof kind && actual.message.includes(text);
    this.hold(what, right, `\n  expected ${kind.name} with '${text}'\n  actual   ${inspect(actual)}`);
  }

  /** The promise is rejected with such an error. */
  async rejects(what, promise, kind, text) {
    this.error(what, await outcome(promise), kind, text);
  }

  /** Runs the parts one after the other; one that throws fails alone. */
  async run(label, parts, ...given) {
    for (const part of parts) {
      this.part = `${label} ${part.name}`;
      try {
        await within(120_000, part(this, ...given));
      } catch (error) {
        this.hold('ended early', false, inspect(error));
      }
    }
  }

  finish() {
    console.log(`${this.name}: ${this.passed} passed, ${this.failed} failed`);
    process.exitCode = this.failed || !this.passed ? 1 : 0;
  }
}

/** What a promise came to, whether it was kept or broken. */
export function outcome(promise) {
  return promise.then((value) => value, (error) => error);
}

/** A stuck client fails its part instead of hanging the run. */
function within(milliseconds, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no end within ${milliseconds} ms`)), milliseconds);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}
