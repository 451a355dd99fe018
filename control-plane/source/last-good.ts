// What the mesh takes of a directory that may hold mistakes: everything that is right, and of what is wrong the last
// state that was right. Pure, so that each rule is a row in a test.

import { check } from '../model/check.ts';
import type { Problem, Resource } from '../model/resource.ts';
import { resourceId } from '../model/resource.ts';
import type { Policies } from './files.ts';

/** A mistake, and what became of what it is in. */
export interface TakenProblem extends Problem {
  /** What was right before, of this resource or of this file, is in force; otherwise what is wrong is left out. */
  readonly lastGoodStays: boolean;
}

/** What is taken, and every mistake that kept something from being taken. */
export interface Taken {
  readonly resources: readonly Resource[];
  readonly problems: readonly TakenProblem[];
}

/** A problem that names a resource completely: `kind/namespace/name`. */
const COMPLETE_ID = /^[^/]+\/[^/]+\/[^/]+$/;

/** Fields that say which resource a document is: with a mistake there, it may be meant for any that its file held. */
const IDENTITY = /^(?:kind|metadata(?:\.(?!labels(?:[.[]|$)).*|\[.*)?)$/;

/**
 * Merges what was read into what was taken before.
 * - A resource without mistake replaces its last state. One that no file holds any more is gone.
 * - A resource with a mistake, its own or in a reference, keeps its last state; without one it is left out.
 * - A file in which something could not be told apart, or may be called wrongly, keeps every resource it held that is
 *   not found elsewhere: a DENY whose name was misspelt still denies.
 * - A right resource that contradicts a kept one waits for the mistake to be mended, and is reported.
 */
export function takeGood(before: readonly Resource[], read: Policies): Taken {
  const problems = [...read.problems];
  const wrongIds = new Set(problems.map((problem) => problem.resource).filter((id) => COMPLETE_ID.test(id)));
  const unclear = new Set(problems.filter((problem) => !isSure(problem)).map((problem) => problem.file));
  const last = new Map(before.map((resource) => [resourceId(resource), resource]));
  const taken = new Map(read.resources.map((resource) => [resourceId(resource), resource]));
  for (const [id, resource] of last) {
    if (taken.has(id)) continue;
    // '.' is the directory as a whole: too many files to read them all.
    if (wrongIds.has(id) || unclear.has(resource.place.file) || unclear.has('.')) taken.set(id, resource);
  }
  if (problems.length === 0) return { resources: [...taken.values()], problems: [] };
  // Kept states meet new ones that were checked without them. Each round takes at least one new one back.
  const fresh = new Set(read.resources.map(resourceId));
  for (;;) {
    // Kept ones first: of two that contradict each other, the later one is blamed.
    const all = [...taken.values()].sort((a, b) => Number(fresh.has(resourceId(a))) - Number(fresh.has(resourceId(b))));
    const checked = check(all, new Set());
    const found = checked.problems.filter((problem) => fresh.has(problem.resource));
    if (found.length === 0) return { resources: [...taken.values()], problems: withFate(problems, taken, fresh) };
    problems.push(...found);
    for (const id of new Set(found.map((problem) => problem.resource))) {
      fresh.delete(id);
      const kept = last.get(id);
      if (kept === undefined) taken.delete(id);
      else taken.set(id, kept);
    }
  }
}

/** Whether the problem is known to be one of the resource that it names, and of no other. */
function isSure({ resource, fieldPath }: Problem): boolean {
  return COMPLETE_ID.test(resource) && !IDENTITY.test(fieldPath);
}

/** Says of each problem whether a state from before stays: of its resource, or where that is not known, of its file. */
function withFate(
  problems: readonly Problem[],
  taken: ReadonlyMap<string, Resource>,
  fresh: ReadonlySet<string>,
): TakenProblem[] {
  const kept = [...taken].filter(([id]) => !fresh.has(id));
  const ids = new Set(kept.map(([id]) => id));
  const files = new Set(kept.map(([, resource]) => resource.place.file));
  return problems.map((problem) => {
    if (isSure(problem) || ids.has(problem.resource)) return { ...problem, lastGoodStays: ids.has(problem.resource) };
    return { ...problem, lastGoodStays: problem.file === '.' ? ids.size > 0 : files.has(problem.file) };
  });
}
