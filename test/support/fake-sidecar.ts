// sidecar/main.ts around the fake worker, or the one that WEFT_TEST_WORKER names: same options, signals and exit codes.

import { optionsOrExit } from '../../proto/kit/options.ts';
import { startSidecar } from '../../sidecar/app.ts';
import { StartError } from '../../sidecar/base/start-error.ts';
import { SIDECAR_OPTIONS } from '../../sidecar/options.ts';

const stop = new AbortController();
const die = (error: unknown): void => {
  process.stderr.write(`${error instanceof Error ? error.stack : String(error)}\n`);
  process.exit(error instanceof StartError ? error.exitCode : 70);
};
const options = optionsOrExit('weft sidecar', SIDECAR_OPTIONS);
const worker = process.env['WEFT_TEST_WORKER'];
const entry = worker === undefined ? new URL('./fake-worker.ts', import.meta.url) : new URL(worker);
const sidecar = startSidecar(options, entry, stop.signal, die);
sidecar.catch(die);
process.once('SIGTERM', () => {
  stop.abort();
  sidecar
    .then((running) => running.drain())
    .then(() => process.exit(0))
    .catch(die);
});
