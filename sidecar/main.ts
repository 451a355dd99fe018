// The sidecar as a program: reads the options, starts the parts, ends them on a signal. Exit codes: proto/kit/exit.ts.

import { EXIT } from '../proto/kit/exit.ts';
import { StartError } from './base/start-error.ts';
import { holdYoungGeneration } from './base/young-generation.ts';

holdYoungGeneration();
const { optionsOrExit } = await import('../proto/kit/options.ts');
const { contradictions, SIDECAR_HELP, SIDECAR_OPTIONS } = await import('./options.ts');
const { startSidecar } = await import('./app.ts');

const PROGRAM = 'weft sidecar';

const options = optionsOrExit(PROGRAM, SIDECAR_OPTIONS, SIDECAR_HELP);
const mistakes = contradictions(options);
if (mistakes.length > 0) {
  for (const mistake of mistakes) process.stderr.write(`${PROGRAM}: ${mistake}\n`);
  process.exit(EXIT.commandLine);
}

// Beside this file in the bundle as in the source.
const worker = new URL(import.meta.url.endsWith('.ts') ? './worker.ts' : './worker.js', import.meta.url);
const stop = new AbortController();
const sidecar = startSidecar(options, worker, stop.signal, die);
sidecar.catch(die);

let signalled = false;
for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  process.on(signal, () => {
    // The second one says that waiting is over.
    if (signalled) process.exit(signal === 'SIGINT' ? 130 : 143);
    signalled = true;
    stop.abort();
    sidecar
      .then((running) => running.drain())
      .then(() => process.exit(EXIT.ok))
      .catch(die);
  });
}
process.on('uncaughtException', die);
process.on('unhandledRejection', die);

/** Says why and ends. */
function die(error: unknown): void {
  if (error instanceof StartError) {
    process.stderr.write(`${PROGRAM}: ${error.message}\n`);
    process.exit(error.exitCode);
  }
  process.stderr.write(`${PROGRAM}: this is a bug: ${error instanceof Error ? error.stack : String(error)}\n`);
  process.exit(EXIT.bug);
}
