// `npm start`: the demo mesh until Ctrl-C, or with --tour a drive through all it can do.

import { randomBytes } from 'node:crypto';
import { EXIT } from '../../proto/kit/exit.ts';
import { flag, optionsOrExit } from '../../proto/kit/options.ts';
import { startMockProvider } from '../mock/mock-provider.ts';
import { printGuide } from './guide.ts';
import { Mesh } from './mesh.ts';
import { startOtlpReceiver } from './otlp.ts';
import type { Part } from './part.ts';
import { runTour } from './tour/tour.ts';
import { TracePrinter } from './trace-printer.ts';

const { tour } = optionsOrExit('npm start --', {
  tour: flag('drive real calls through the mesh, check each, and end'),
});
const providerKey = `sk-demo-${randomBytes(12).toString('hex')}`;
const printer = new TracePrinter((text) => console.log(text));
const receiver = await startOtlpReceiver((spans) => {
  if (!tour) printer.add(spans);
});
const provider = await startMockProvider({ key: providerKey });
let mesh: Mesh | null = null;
let ending: Promise<void> | null = null;

// Whatever happens to this process, no part of the mesh outlives it.
process.on('exit', () => mesh?.killNow());
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => void end(EXIT.ok, true));

try {
  console.log('Starting a control plane, five applications and their sidecars …');
  const running = await Mesh.start(
    { providerPort: provider.port, providerKey, otlpPort: receiver.port, onCrash },
    (made) => {
      mesh = made;
    },
  );
  console.log(`Policies: ${running.policies}\nLogs:     ${running.directory}/logs\n`);
  if (tour) {
    const good = await runTour({ mesh: running, receiver, providerKey, providerPort: provider.port });
    await end(good ? EXIT.ok : EXIT.bug, good);
  } else printGuide(running);
} catch (error) {
  console.error(`weft: the demo did not start: ${(error as Error).message}`);
  await end(EXIT.unavailable, false);
}

function onCrash(part: Part, how: string): void {
  if (ending !== null) return;
  console.error(`weft: ${part.name} ended by itself (${how}); the last lines of ${part.logFile}:\n${part.lastLines()}`);
  void end(EXIT.bug, false);
}

/** Ends everything in order, once. @param forget remove the temporary directory; kept when there is something to look at. */
function end(code: number, forget: boolean): Promise<void> {
  ending ??= (async () => {
    if (!tour) console.log('\nEnding …');
    const bad = (await mesh?.end()) ?? [];
    await Promise.all([provider.close(), receiver.close()]);
    for (const line of bad) console.error(`weft: did not end well: ${line}`);
    if (forget && bad.length === 0) mesh?.removeDirectory();
    else if (mesh !== null) console.error(`weft: logs are kept in ${mesh.directory}/logs`);
    process.exit(code === EXIT.ok && bad.length > 0 ? EXIT.bug : code);
  })();
  return ending;
}
