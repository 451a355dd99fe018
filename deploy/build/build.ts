// `npm run build [--quiet]`: bundles the programs into dist/, which is what users run and benches measure. Code that several
// entries share is split out, so that a worker's chunk never carries what only the main thread needs.
import { existsSync, rmSync, statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = fileURLToPath(new URL('../..', import.meta.url));
/** The entry points, by their path in the tree, which dist/ repeats: `new URL('./worker.ts', …)` becomes `./worker.js`. */
const entries = [
  'deploy/cli/weft.ts',
  'deploy/demo/main.ts',
  'deploy/demo/apps/web.ts',
  'deploy/demo/apps/orders.ts',
  'deploy/demo/apps/inventory.ts',
  'deploy/demo/apps/scorer.ts',
  'deploy/mock/main.ts',
  'sidecar/main.ts',
  'sidecar/worker.ts',
  'control-plane/main.ts',
].filter((path) => existsSync(`${root}${path}`));

if (entries.length === 0) {
  console.error('weft: there is no entry point to build yet');
  process.exit(69);
}
rmSync(`${root}dist`, { recursive: true, force: true });
const result = await build({
  absWorkingDir: root,
  entryPoints: entries,
  outdir: 'dist',
  outbase: '.',
  bundle: true,
  splitting: true,
  format: 'esm',
  platform: 'node',
  target: 'node26',
  // Names stay readable in stack traces and profiles; a server gains nothing from shorter ones.
  minifySyntax: true,
  keepNames: false,
  sourcemap: 'linked',
  legalComments: 'linked',
  metafile: true,
  // Native bindings that packages load when they are there.
  external: ['pg-native', 'bufferutil', 'utf-8-validate'],
  // CommonJS dependencies call require() for Node's own modules; an ES module has none.
  banner: {
    js: "import { createRequire as __createRequire } from 'node:module'; const require = __createRequire(import.meta.url);",
  },
  logLevel: 'warning',
});
const quiet = process.argv.includes('--quiet');
for (const [path, output] of Object.entries(result.metafile.outputs)) {
  if (quiet) break;
  if (output.entryPoint !== undefined) console.log(`${path} ${Math.ceil(statSync(`${root}${path}`).size / 1024)} KiB`);
}
