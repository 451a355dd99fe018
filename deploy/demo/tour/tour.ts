// `npm start -- --tour`: every promise of the demo, kept in front of the reader.

import { callSteps } from './calls.ts';
import type { TourContext } from './context.ts';
import { modelSteps } from './model.ts';
import { outageSteps } from './outage.ts';
import { policySteps } from './policy.ts';
import { runSteps } from './step.ts';
import { traceSteps } from './trace.ts';

/** Runs the tour and prints it. True: everything went as the policies say. */
export async function runTour(context: TourContext): Promise<boolean> {
  const steps = [...callSteps, ...modelSteps, ...traceSteps, ...policySteps, ...outageSteps];
  const started = performance.now();
  const differed = await runSteps(steps, context, (line) => console.log(line));
  const seconds = Math.round((performance.now() - started) / 1_000);
  const kept = steps.length - differed;
  console.log(
    `\ntour: ${kept} of ${steps.length} as expected${differed > 0 ? `, ${differed} not` : ''} (${seconds} s)`,
  );
  return differed === 0;
}
