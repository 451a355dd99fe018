// Whether a control plane may start on a policy directory that holds mistakes: where the last good state is known, a
// restart is as no restart; where it is not, nothing is let in that a policy might have kept out.

import { EXIT } from '../../proto/kit/exit.ts';
import { StartError } from '../base/start-error.ts';
import type { TakenProblem } from './last-good.ts';
import type { Remembered } from './stored.ts';
import { unreadableDirectory } from './unreadable.ts';
import { type PolicyObserver, PolicySource } from './watch.ts';

/**
 * Opens the directory on what was in force when a control plane last ran on it; null: a first start.
 * Throws StartError when it cannot be read, or when what is left out could let in who should stay out.
 */
export async function openPolicies(
  directory: string,
  remembered: Remembered | null,
  observer: PolicyObserver,
): Promise<PolicySource> {
  const source = await PolicySource.open(directory, observer, remembered?.resources).catch((error: Error) => {
    const why = unreadableDirectory(directory, error);
    throw why === null ? error : new StartError(EXIT.unavailable, `--policies: ${why}`);
  });
  const dangerous = source.state.problems.filter((problem) => isDangerous(problem, remembered));
  if (dangerous.length === 0) return source;
  source.close();
  const lines = dangerous.map((p) => `${p.file}:${p.line}:${p.column}: ${p.message}\n  fix: ${p.fix}`);
  const why = 'a start without these policies could allow what they deny, and no last good state of them is stored';
  throw new StartError(EXIT.policies, `${why}; mend them first:\n${lines.join('\n')}`);
}

/**
 * A mistake in an Authorization, or in a file of which not all can be told, so that it could hold one. Not where the
 * last good state stays, nor where the mesh ran with this very mistake before.
 */
function isDangerous(problem: TakenProblem, remembered: Remembered | null): boolean {
  if (problem.resource !== '' && !problem.resource.startsWith('Authorization')) return false;
  return !problem.lastGoodStays && remembered?.knew(problem) !== true;
}

/** What to say of a problem in the log. */
export function fateOf({ lastGoodStays }: TakenProblem): string {
  return lastGoodStays ? 'a policy is wrong; its last good state stays' : 'a policy is wrong; it is left out';
}
