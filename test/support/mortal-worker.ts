// The real data-path worker, and a way to kill it: a connection to its socket in WEFT_TEST_FOLDER throws where nothing
// catches.

import { rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { workerData } from 'node:worker_threads';
import type { WorkerStart } from '../../sidecar/base/messages.ts';
import '../../sidecar/worker.ts';

const { workerIndex } = workerData as WorkerStart;
const path = join(process.env['WEFT_TEST_FOLDER'] ?? '.', `worker-${workerIndex}.sock`);
// Left behind by the one that was killed.
rmSync(path, { force: true });
createServer(() => {
  throw new Error('killed by the test');
}).listen(path);
