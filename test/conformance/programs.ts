// The field's conformance suites that are Go programs: which version of each, where a build of it is, and what a test
// does without one. `npm run conformance:install` builds them.

import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Beside what the benches install, so that one cache holds every tool and none goes into the tree. */
export const PROGRAM_FOLDER = fileURLToPath(new URL('../../node_modules/.cache/go-bin', import.meta.url));

/** By the name it has here: the Go package and its version. Pinned, so that a suite never changes by itself. */
export const PROGRAMS = {
  h2spec: ['github.com/summerwind/h2spec/cmd/h2spec', 'v2.2.1+incompatible'],
  'grpc-interop-client': ['google.golang.org/grpc/interop/client', 'v1.85.0'],
  'grpc-interop-server': ['google.golang.org/grpc/interop/server', 'v1.85.0'],
  connectconformance: ['connectrpc.com/conformance/cmd/connectconformance', 'v1.0.7'],
  'connect-reference-server': ['connectrpc.com/conformance/cmd/referenceserver', 'v1.0.7'],
} as const;

export type ProgramName = keyof typeof PROGRAMS;

/** Where a build of the pinned version is, or will be: the version is in its name, so another one is never taken for it. */
export function builtPath(name: ProgramName): string {
  return join(PROGRAM_FOLDER, `${name}@${PROGRAMS[name][1]}`);
}

function findProgram(name: ProgramName): string | null {
  const onPath = (process.env['PATH'] ?? '').split(delimiter).map((folder) => join(folder, name));
  return [builtPath(name), ...onPath].find((path) => existsSync(path)) ?? null;
}

/** Whether a test that needs `names` is to be skipped: one is missing, and this is not CI, which skips nothing. */
export function isSkipped(...names: ProgramName[]): boolean {
  return process.env['CI'] === undefined && names.some((name) => findProgram(name) === null);
}

/** The program's path: the pinned build, else what the PATH has. Throws, with the remedy, when there is none. */
export function programPath(name: ProgramName): string {
  const path = findProgram(name);
  if (path === null) throw new Error(`${name} is not installed; npm run conformance:install builds it (it needs Go)`);
  return path;
}
