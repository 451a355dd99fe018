// Connect's conformance suite (connectrpc.com/conformance): the reference client against the reference server over
// Connect, gRPC and gRPC-Web, HTTP/1.1 and HTTP/2, every codec, compression and kind of stream, through one sidecar
// and through two. Without a proxy all cases pass, so all must.

import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { afterEach, expect, test } from 'vitest';
import { freePorts } from '../../bench/processes.ts';
import { Protocol } from '../../proto/gen/weft/policy/v1/service_pb.js';
import { type HopCount, type Hops, startHops } from '../support/hops.ts';
import { isSkipped, programPath } from './programs.ts';

const SERVER = fileURLToPath(new URL('./connect-server.ts', import.meta.url));
const CONFIG = fileURLToPath(new URL('./connect.yaml', import.meta.url));
/** Cases of the pinned version for what connect.yaml offers. */
const CASES = 5438;

const opened: Hops[] = [];
afterEach(async () => {
  for (const hops of opened.splice(0)) await hops.close();
});

test.skipIf(isSkipped('connectconformance', 'connect-reference-server')).each<HopCount>([1, 2])(
  'Connect conformance with sidecars in between: %i (needs connectconformance and connect-reference-server)',
  { timeout: 300_000 },
  async (count) => {
    const [port = 0] = await freePorts(1);
    const http1 = await sidecars(count, port, Protocol.HTTP1);
    const http2 = await sidecars(count, port, Protocol.HTTP2);
    const output = await runSuite([port, http1, http2]);
    expect(output.slice(-20_000)).toContain(`\n${CASES} passed, 0 failed`);
    console.log(`Connect conformance, sidecars in between: ${count}: ${CASES} of ${CASES}`);
    for (const { sidecars } of opened)
      for (const sidecar of sidecars) expect(await sidecar.metric('weft_contained_total')).toBe(0);
  },
);

async function sidecars(count: HopCount, port: number, protocol: Protocol): Promise<number> {
  const hops = await startHops(count, port, protocol);
  opened.push(hops);
  return hops.port;
}

/** What the suite prints: each failure, then the counts. One server at a time, because each takes the same port. */
function runSuite(ports: readonly number[]): Promise<string> {
  const server = [process.execPath, SERVER, ...ports.map(String)];
  const args = ['--mode', 'server', '--conf', CONFIG, '--max-servers', '1', '--', ...server];
  const options = { maxBuffer: 64 * 1024 * 1024 };
  return new Promise((resolve) => {
    execFile(programPath('connectconformance'), args, options, (_error, stdout, stderr) => resolve(stdout + stderr));
  });
}
