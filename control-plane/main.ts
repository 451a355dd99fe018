// The control plane's entry: options, start, end.

import { EXIT } from '../proto/kit/exit.ts';
import { optionsOrExit } from '../proto/kit/options.ts';
import { startControlPlane } from './app.ts';
import { StartError } from './base/start-error.ts';
import { CONTROL_PLANE_HELP, CONTROL_PLANE_OPTIONS, missingOptions } from './options.ts';

const PROGRAM = 'weft control-plane';

const options = optionsOrExit(PROGRAM, CONTROL_PLANE_OPTIONS, CONTROL_PLANE_HELP);
const missing = missingOptions(options);
for (const mistake of missing) process.stderr.write(`${PROGRAM}: ${mistake}\n`);
if (missing.length > 0) process.exit(EXIT.commandLine);

try {
  const controlPlane = await startControlPlane(options);
  const end = (): void => {
    // A second signal finds no handler and ends the process at once.
    process.removeAllListeners('SIGTERM').removeAllListeners('SIGINT');
    controlPlane.close().then(
      () => process.exit(EXIT.ok),
      (error: Error) => fail(error),
    );
  };
  process.once('SIGTERM', end).once('SIGINT', end);
} catch (error) {
  fail(error as Error);
}

function fail(error: Error): never {
  const known = error instanceof StartError;
  process.stderr.write(`${PROGRAM}: ${known ? error.message : `this is a bug: ${error.stack}`}\n`);
  process.exit(known ? error.exitCode : EXIT.bug);
}
