// `npm run check`: every static check at once, each with its own process; prints all failures, then one line a check.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '../..');
const bin = (name) => join(root, 'node_modules/.bin', name);
// The locked Node first: the tools start with `env node`.
const env = { ...process.env, PATH: `${join(root, 'node_modules/.bin')}${delimiter}${process.env.PATH}` };
const baseline = 'proto/baseline.binpb';

/** Name, command. The order is that of the summary; all run at the same time. */
const checks = [
  ['format and lint', bin('biome'), 'check', '--config-path', 'test/tidy/biome.json', '--max-diagnostics=50', '.'],
  ['types', bin('tsc'), '-p', '.', '--pretty', 'false'],
  ['unused code', bin('knip'), '--no-progress', '--no-config-hints'],
  [
    'proto format',
    bin('buf'),
    'format',
    '--exit-code',
    '--diff',
    '--path',
    'proto/weft',
    '--path',
    'deploy/demo/proto/weft',
  ],
  ['proto lint', bin('buf'), 'lint', '--path', 'proto/weft', '--path', 'deploy/demo/proto/weft'],
  ['proto breaking changes', bin('buf'), 'breaking', 'proto', '--against', baseline, '--exclude-imports'],
  ['import directions', process.execPath, 'test/tidy/imports.mjs'],
  ['tidy', process.execPath, 'test/tidy/tidy.mjs'],
];

const results = await Promise.all(checks.map(([name, ...command]) => runCheck(name, command)));
for (const { name, ok, output } of results) if (!ok) console.log(`--- ${name}\n${output.trim()}\n`);
for (const { name, ok, seconds } of results) console.log(`${ok ? 'ok  ' : 'FAIL'} ${name} (${seconds} s)`);
const failed = results.filter((result) => !result.ok).length;
console.log(failed === 0 ? `all ${results.length} checks passed` : `${failed} of ${results.length} checks failed`);
process.exitCode = failed === 0 ? 0 : 1;

function runCheck(name, [command, ...args]) {
  if (args.includes(baseline) && !existsSync(join(root, baseline))) {
    return { name, ok: false, seconds: 0, output: `${baseline} is missing: run npm run proto:accept` };
  }
  return new Promise((resolve) => {
    const started = performance.now();
    const chunks = [];
    const child = spawn(command, args, { cwd: root, env, stdio: ['ignore', 'pipe', 'pipe'] });
    child.stdout.on('data', (chunk) => chunks.push(chunk));
    child.stderr.on('data', (chunk) => chunks.push(chunk));
    child.on('error', (error) => chunks.push(Buffer.from(error.message)));
    child.on('close', (code) => {
      const seconds = ((performance.now() - started) / 1000).toFixed(1);
      resolve({ name, ok: code === 0, seconds, output: Buffer.concat(chunks).toString() });
    });
  });
}
