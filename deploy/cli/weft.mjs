#!/usr/bin/env node
// Starts `weft` with the Node that the project is locked to, whatever Node the machine has: the bundle where there is
// one, else the source. Plain JavaScript, so that any Node can run this file.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const root = join(here, '..', '..');
const bundle = join(root, 'dist', 'deploy', 'cli', 'weft.js');
const platform = process.platform === 'darwin' ? 'node-bin-darwin' : `node-${process.platform}`;

function lockedNode() {
  try {
    const manifest = createRequire(import.meta.url).resolve(`${platform}-${process.arch}/package.json`);
    const binary = join(dirname(manifest), 'bin', 'node');
    return existsSync(binary) ? binary : null;
  } catch {
    return null;
  }
}

const node = lockedNode();
if (node === null) {
  console.error(
    `weft: the locked Node for ${process.platform}-${process.arch} is not installed; run \`npm install\` in ${root}`,
  );
  process.exit(69);
}
const child = spawn(node, [existsSync(bundle) ? bundle : join(here, 'weft.ts'), ...process.argv.slice(2)], {
  stdio: 'inherit',
});
const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'];
for (const signal of signals) process.on(signal, () => child.kill(signal));
child.on('error', (error) => {
  console.error(`weft: cannot start ${node}: ${error.message}`);
  process.exit(69);
});
child.on('exit', (code, signal) => {
  if (signal === null) process.exit(code ?? 70);
  for (const name of signals) process.removeAllListeners(name);
  process.kill(process.pid, signal);
});
