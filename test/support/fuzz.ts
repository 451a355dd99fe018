// How long each fuzz target runs and from which seed: defined here alone, for all of them.
import fc from 'fast-check';

/** On a laptop, where the tests are run all day. */
const LOCAL_SECONDS = 2;
/** Where `CI` is set: each target, each time. */
const CI_SECONDS = 20;
/** For what a test does before and after, and a case that is slow to run or to shrink. */
const SLACK_MS = 15_000;

/** Seconds for each target: WEFT_FUZZ_SECONDS, else 20 where CI is set, else 2. */
export function fuzzSeconds(environment: NodeJS.ProcessEnv): number {
  const written = environment['WEFT_FUZZ_SECONDS'] ?? '';
  if (written === '') return (environment['CI'] ?? '') === '' ? LOCAL_SECONDS : CI_SECONDS;
  const seconds = Number(written);
  if (seconds > 0 && Number.isFinite(seconds)) return seconds;
  throw new Error(`WEFT_FUZZ_SECONDS is ${JSON.stringify(written)}: write a number of seconds above 0`);
}

/** The seed of every target of this run: WEFT_FUZZ_SEED, which repeats a run, else another one each time. */
export const FUZZ_SEED = Number(process.env['WEFT_FUZZ_SEED'] || Date.now() % 2 ** 31);

const SECONDS = fuzzSeconds(process.env);

/** The time limit of a test that runs so many targets one after the other. */
export function fuzzTimeoutMs(targets = 1): number {
  return targets * SECONDS * 1000 + SLACK_MS;
}

/** As `fuzz`, for a property that waits. */
export async function fuzzAsync<T>(target: string, property: fc.IAsyncProperty<T>): Promise<void> {
  console.log(`fuzz: ${target}: ${SECONDS} s, WEFT_FUZZ_SEED=${FUZZ_SEED}`);
  await fc.assert(property, {
    seed: FUZZ_SEED,
    numRuns: 1_000_000_000,
    interruptAfterTimeLimit: SECONDS * 1000,
    markInterruptAsFailure: false,
  });
}

/** Runs one target for its time; throws with the counterexample and the seed. Prints what it did. */
export function fuzz<T>(target: string, property: fc.IProperty<T>): void {
  console.log(`fuzz: ${target}: ${SECONDS} s, WEFT_FUZZ_SEED=${FUZZ_SEED}`);
  fc.assert(property, {
    seed: FUZZ_SEED,
    numRuns: 1_000_000_000,
    interruptAfterTimeLimit: SECONDS * 1000,
    markInterruptAsFailure: false,
  });
}

/** Where to cut a stream: the lengths of its pieces, again and again. */
export const cuts = fc.array(fc.oneof(fc.integer({ min: 1, max: 3 }), fc.integer({ min: 1, max: 60 })), {
  minLength: 1,
  maxLength: 12,
});

/** `bytes` in pieces, each in memory of its own, as a socket reads them. */
export function cut(bytes: Uint8Array, sizes: readonly number[]): Buffer[] {
  const pieces: Buffer[] = [];
  for (let at = 0, i = 0; at < bytes.length; i++) {
    const size = sizes[i % sizes.length] as number;
    pieces.push(Buffer.from(bytes.subarray(at, at + size)));
    at += size;
  }
  return pieces;
}
