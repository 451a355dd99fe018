// `npm run conformance:install`: builds the conformance programs that are missing, each at its pinned version, through the
// Go module proxy. About two minutes on a machine that never built them, at once on the next run. Exit code 69 without Go
// or when one could not be built, after all were tried.

import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { builtPath, PROGRAM_FOLDER, PROGRAMS, type ProgramName } from './programs.ts';

/** No dependency of this package. */
const COMPILER = 'go';
/** Where Go's own installer puts it, which a PATH often lacks. */
const GO_FOLDER = '/usr/local/go/bin';
const env = { ...process.env, PATH: `${process.env['PATH']}${delimiter}${GO_FOLDER}` };

const missing = (Object.keys(PROGRAMS) as ProgramName[]).filter((name) => !existsSync(builtPath(name)));
const failed = missing.filter((name) => !build(name));
if (failed.length > 0) {
  console.error(
    `conformance: could not build ${failed.join(', ')}; is Go installed, and does its module proxy answer?`,
  );
  process.exit(69);
}

/** `go install` names a program after its package, `client`: it is built in a folder of its own and moved from there. */
function build(name: ProgramName): boolean {
  const [module, version] = PROGRAMS[name];
  console.log(`conformance: building ${name} ${version}`);
  mkdirSync(PROGRAM_FOLDER, { recursive: true });
  const folder = mkdtempSync(join(PROGRAM_FOLDER, 'building-'));
  try {
    const args = ['install', '-ldflags=-s -w', `${module}@${version}`];
    const { status, stderr } = spawnSync(COMPILER, args, { env: { ...env, GOBIN: folder }, encoding: 'utf8' });
    const [built] = readdirSync(folder);
    if (status !== 0 || built === undefined) {
      console.error(stderr ?? `${COMPILER}: not found`);
      return false;
    }
    renameSync(join(folder, built), builtPath(name));
    return true;
  } finally {
    rmSync(folder, { recursive: true });
  }
}
