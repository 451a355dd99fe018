#!/usr/bin/env node
// Starts `weft` with the Node that the project is locked to, whatever Node the machine has. Plain JavaScript, so that
// any Node can run this file. The two programs are started themselves, so that no code of the command line is loaded
// beside them.
//
// Where the sources are, they run, so that nobody is surprised by a stale bundle; WEFT_BUNDLE=1 asks for the bundle
// (`npm run build`). What is published holds only the bundle.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
const platform = process.platform === 'darwin' ? 'node-bin-darwin' : `node-${process.platform}`;
const programs = new Set(['sidecar', 'control-plane']);

const [command, ...rest] = process.argv.slice(2);
const entry = programs.has(command) ? join(command, 'main') : join('deploy', 'cli', 'weft');
const source = join(root, `${entry}.ts`);
const bundle = join(root, 'dist', `${entry}.js`);
const script = existsSync(source) && process.env.WEFT_BUNDLE !== '1' ? source : bundle;
if (!existsSync(script)) fail(`${script} is missing; run \`npm run build\` in ${root}, or unset WEFT_BUNDLE`);
const node = lockedNode();
if (node === null) {
  fail(`the locked Node for ${process.platform}-${process.arch} is not installed; run \`npm install\` in ${root}`);
}
// Node answers SIGUSR1 with an inspector, which runs any code it is sent. `weft run` passes the signal on instead, and
// with this flag would not get it.
const flags = command === 'run' ? [] : ['--disable-sigusr1'];
const args = [...flags, script, ...(programs.has(command) ? rest : process.argv.slice(2))];
// In place of this process where Node can: one process less, and signals need no passing on.
if (typeof process.execve === 'function') process.execve(node, [node, ...args], process.env);
const child = spawn(node, args, { stdio: 'inherit' });
// As deploy/cli/run.ts passes them on, which says why these.
const signals = 'INT TERM HUP QUIT USR1 USR2 WINCH CONT ALRM VTALRM IO PROF'.split(' ').map((name) => `SIG${name}`);
if (process.platform === 'linux') signals.push('SIGPWR', 'SIGSTKFLT');
const fromTerminal = new Set(['SIGINT', 'SIGQUIT', 'SIGWINCH']);
for (const signal of signals) {
  process.on(signal, () => {
    if (!process.stdin.isTTY || !fromTerminal.has(signal)) child.kill(signal);
  });
}
child.on('error', (error) => fail(`cannot start ${node}: ${error.message}`));
child.on('exit', (code, signal) => {
  if (signal === null) process.exit(code ?? 70);
  for (const name of signals) process.removeAllListeners(name);
  process.kill(process.pid, signal);
});

function lockedNode() {
  try {
    const manifest = createRequire(import.meta.url).resolve(`${platform}-${process.arch}/package.json`);
    const binary = join(dirname(manifest), 'bin', 'node');
    return existsSync(binary) ? binary : null;
  } catch {
    return null;
  }
}

function fail(message) {
  console.error(`weft: ${message}`);
  process.exit(69);
}
