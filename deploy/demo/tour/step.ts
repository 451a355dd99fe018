// The tour's frame: each step says what the policies promise, does it, and prints what happened and how long it took.

/** One thing that the mesh promises. */
export interface Step<C> {
  readonly name: string;
  /** What must happen, for people. */
  readonly expected: string;
  /** A step that takes longer failed. */
  readonly boundMs: number;
  /** Does it; returns what happened, or throws with what happened instead. */
  readonly run: (context: C) => Promise<string>;
}

/** Runs every step in order, whatever came of those before; returns how many differed. */
export async function runSteps<C>(
  steps: readonly Step<C>[],
  context: C,
  print: (line: string) => void,
): Promise<number> {
  let differed = 0;
  for (const step of steps) {
    const started = performance.now();
    let happened: string;
    let good = true;
    try {
      happened = await bounded(step, context);
    } catch (error) {
      good = false;
      differed++;
      happened = (error as Error).message;
    }
    const seconds = ((performance.now() - started) / 1_000).toFixed(2);
    print(`${good ? '✓' : '✗'} ${step.name} (${seconds} s)`);
    print(`    expected: ${step.expected}`);
    print(`    happened: ${happened.replaceAll('\n', '\n              ')}`);
  }
  return differed;
}

/** A fact that a step needs; throws what happened instead. */
export function must(fact: boolean, otherwise: string): asserts fact {
  if (!fact) throw new Error(otherwise);
}

async function bounded<C>(step: Step<C>, context: C): Promise<string> {
  const { promise, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new Error(`not finished within ${step.boundMs / 1_000} s`)), step.boundMs);
  try {
    return await Promise.race([step.run(context), promise]);
  } finally {
    clearTimeout(timer);
  }
}
