// The real data-path worker with three bugs on request: a connection to its socket in WEFT_TEST_FOLDER throws where nothing
// catches, a request for /throw throws in the middle of the data path, and one for /spin never ends.

import { rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { workerData } from 'node:worker_threads';
import type { WorkerStart } from '../../sidecar/base/messages.ts';
import { RequestServer } from '../../sidecar/proxy/serve.ts';
import '../../sidecar/worker.ts';

const { workerIndex } = workerData as WorkerStart;
const path = join(process.env['WEFT_TEST_FOLDER'] ?? '.', `worker-${workerIndex}.sock`);
// Left behind by the one that was killed.
rmSync(path, { force: true });
createServer(() => {
  throw new Error('killed by the test');
}).listen(path);

const { begin } = RequestServer.prototype;
RequestServer.prototype.begin = function (...args) {
  if (args[1].path === '/throw') throw new Error('thrown by the test');
  while (args[1].path === '/spin');
  return begin.apply(this, args);
};
