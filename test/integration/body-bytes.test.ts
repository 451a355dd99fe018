// Many bodies at once through two real sidecars, of all lengths and at different paces: each comes back byte for byte. The
// memory that bodies are read into is used again, and one that were used too early would show here.

import { createHash, randomBytes } from 'node:crypto';
import http from 'node:http';
import http2 from 'node:http2';
import { pipeline, Transform } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Protocol } from '../../proto/gen/weft/policy/v1/service_pb.js';
import { Apps } from '../support/apps.ts';
import { type Hops, startHops } from '../support/hops.ts';

/** Around the sizes at which reads, records, frames, slabs and windows end, and some far above. */
const SIZES = [1, 8_191, 8_192, 16_384, 65_535, 65_537, 131_072, 131_073, 262_144, 1_000_003, 3_145_728];
const ROUNDS = 3;

describe.each([
  ['HTTP/1.1', Protocol.HTTP1],
  ['HTTP/2', Protocol.HTTP2],
] as const)('echoed by an application that speaks %s', { timeout: 60_000 }, (version, protocol) => {
  const apps = new Apps();
  let hops: Hops;

  beforeAll(async () => {
    // Sends back what comes, while it comes.
    const echo = (request: NodeJS.ReadableStream, response: NodeJS.WritableStream): void =>
      void pipeline(request, response, () => {});
    const server = version === 'HTTP/1.1' ? http.createServer(echo) : http2.createServer(echo as never);
    hops = await startHops(2, await apps.listen(server), protocol);
  });
  afterAll(async () => {
    await hops.close();
    apps.close();
  });

  /** The echo of `body`, sent in pieces of `pieceBytes`, with a declared length or in chunks. */
  async function echoed(body: Buffer, pieceBytes: number, isCounted: boolean): Promise<Buffer> {
    const headers = isCounted ? { 'content-length': body.length } : {};
    const request = http.request({
      host: '127.0.0.1',
      port: hops.port,
      method: 'POST',
      path: '/',
      agent: false,
      headers,
    });
    const answer = new Promise<http.IncomingMessage>((resolve, reject) => {
      request.once('response', resolve);
      request.once('error', reject);
    });
    for (let at = 0; at < body.length; at += pieceBytes) request.write(body.subarray(at, at + pieceBytes));
    request.end();
    // A slow reader holds what is under way, while others read on.
    const slow = new Transform({ transform: (chunk, _encoding, done) => void setImmediate(done, null, chunk) });
    const response = await answer;
    return buffer(isCounted ? response : response.pipe(slow));
  }

  test('all of them, at the same time', async () => {
    for (let round = 0; round < ROUNDS; round++) {
      await Promise.all(
        SIZES.map(async (size, i) => {
          const body = randomBytes(size);
          const back = await echoed(body, i % 3 === 0 ? size : 10_000 + i, (i + round) % 2 === 0);
          const digests = [body, back].map((bytes) => createHash('sha256').update(bytes).digest('hex'));
          expect(digests[1], `${size} bytes of round ${round}`).toBe(digests[0]);
        }),
      );
    }
  });
});
