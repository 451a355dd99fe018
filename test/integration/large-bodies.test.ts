// A body of 1 GiB through two real sidecars, up and down: it arrives whole, neither process grows by more than 32 MiB, and
// who does not read stops who sends.

import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import http2 from 'node:http2';
import type { Duplex, Readable, Writable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Protocol } from '../../proto/gen/weft/policy/v1/service_pb.js';
import { Apps } from '../support/apps.ts';
import { type Hops, startHops } from '../support/hops.ts';
import type { SidecarProcess } from '../support/sidecar-process.ts';
import { route, until } from '../support/worker-rig.ts';

type Version = 'HTTP/1.1' | 'HTTP/2';

const MIB = 1024 * 1024;
const GIB = 1024 * MIB;
const GROWTH_MAX = 32 * MIB;
/** Windows, high-water marks and kernel buffers of three connections and two processes; far below the body. */
const UNDER_WAY_MAX = 48 * MIB;
/** What a process needs once for any traffic: code, pools, the young generation. */
const WARM_UP = 64 * MIB;
const CHUNK = Buffer.alloc(64 * 1024, 'weft');

/** An upload is answered at its end, which 15 s to the response head do not wait for. */
const PATIENT = route('shop/patient', {
  services: ['shop/echo'],
  rules: [{ name: 'all', timeouts: { request: { seconds: 0n } } }],
});

/** What the application wrote of an answer, or read of a request, that is under way. */
interface Progress {
  bytes: number;
}

/** Writes `total` bytes as fast as `into` takes them. */
function send(into: Writable, total: number, progress: Progress): void {
  const push = (): void => {
    while (progress.bytes < total) {
      progress.bytes += CHUNK.length;
      if (!into.write(CHUNK)) return void into.once('drain', push);
    }
    into.end();
  };
  push();
}

/** Counts what `from` gives, to its end; `look` is called every 16 MiB. */
async function count(from: Readable, look: () => void = () => {}): Promise<number> {
  let bytes = 0;
  let next = 16 * MIB;
  for await (const chunk of from) {
    bytes += (chunk as Buffer).length;
    if (bytes < next) continue;
    next += 16 * MIB;
    look();
  }
  return bytes;
}

/** VmRSS in bytes (proc(5)). */
function residentBytes(sidecar: SidecarProcess): number {
  const status = readFileSync(`/proc/${sidecar.child.pid}/status`, 'utf8');
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024;
}

/** Follows the greatest growth of each process from now on, in bytes. */
function growthOf(sidecars: readonly SidecarProcess[]): { look(): void; readonly most: number } {
  const before = sidecars.map(residentBytes);
  const growth = {
    most: 0,
    look(): void {
      for (const [i, sidecar] of sidecars.entries())
        growth.most = Math.max(growth.most, residentBytes(sidecar) - (before[i] as number));
    },
  };
  return growth;
}

describe.skipIf(process.platform !== 'linux').each<Version>(['HTTP/1.1', 'HTTP/2'])(
  '%s on both sides of two sidecars (needs /proc)',
  { timeout: 180_000 },
  (version) => {
    const apps = new Apps();
    let hops: Hops;
    /** Of the last request. */
    let progress: Progress = { bytes: 0 };
    /** The last request that nobody reads yet. */
    let unread: Readable | null = null;

    /** `/down?N` answers N bytes; `/up` counts; `/held` does not read before it is told. */
    const handle = async (request: http.IncomingMessage, response: http.ServerResponse): Promise<void> => {
      const [path, total] = (request.url ?? '').split('?');
      if (path === '/down') {
        progress = { bytes: 0 };
        return send(response, Number(total), progress);
      }
      if (path === '/held') {
        unread = request;
        await new Promise<void>((resolve) => request.once('weft:read', resolve));
      }
      response.end(String(await count(request)));
    };

    beforeAll(async () => {
      const listener = (request: unknown, response: unknown): void =>
        void handle(request as http.IncomingMessage, response as http.ServerResponse);
      const server = version === 'HTTP/1.1' ? http.createServer(listener) : http2.createServer(listener);
      const port = await apps.listen(server);
      hops = await startHops(2, port, version === 'HTTP/1.1' ? Protocol.HTTP1 : Protocol.HTTP2, [PATIENT]);
    });
    afterAll(async () => {
      await hops.close();
      apps.close();
    });

    /** A request, and its answer once the head is here. */
    async function open(method: string, path: string): Promise<{ request: Writable; answer: Promise<Readable> }> {
      if (version === 'HTTP/1.1') {
        const request = http.request({ host: '127.0.0.1', port: hops.port, method, path, agent: false });
        apps.onClose(() => request.destroy());
        return { request, answer: once(request, 'response').then(([response]) => response as Readable) };
      }
      const session = http2.connect(`http://127.0.0.1:${hops.port}`);
      apps.onClose(() => session.destroy());
      const stream: Duplex = session.request({ ':method': method, ':path': path }, { endStream: false });
      return { request: stream, answer: once(stream, 'response').then(() => stream as Readable) };
    }

    async function download(bytes: number, look?: () => void): Promise<number> {
      const { request, answer } = await open('GET', `/down?${bytes}`);
      request.end();
      return count(await answer, look);
    }

    async function upload(bytes: number, look: () => void = () => {}): Promise<string> {
      const { request, answer } = await open('POST', '/up');
      const sent = { bytes: 0 };
      let next = 16 * MIB;
      request.on('drain', () => {
        if (sent.bytes < next) return;
        next += 16 * MIB;
        look();
      });
      send(request, bytes, sent);
      return text(await answer);
    }

    test('1 GiB down', async () => {
      await download(WARM_UP);
      const growth = growthOf(hops.sidecars);
      expect(await download(GIB, growth.look)).toBe(GIB);
      console.log(`1 GiB down over ${version}: grew by ${(growth.most / MIB).toFixed(1)} MiB`);
      expect(growth.most).toBeLessThan(GROWTH_MAX);
    });

    test('1 GiB up', async () => {
      await upload(WARM_UP);
      const growth = growthOf(hops.sidecars);
      expect(await upload(GIB, growth.look)).toBe(String(GIB));
      console.log(`1 GiB up over ${version}: grew by ${(growth.most / MIB).toFixed(1)} MiB`);
      expect(growth.most).toBeLessThan(GROWTH_MAX);
    });

    test('a client that does not read stops the application, and gets the rest when it does', async () => {
      const { request, answer } = await open('GET', `/down?${256 * MIB}`);
      request.end();
      const response = await answer;
      await standstill(() => progress.bytes);
      console.log(`stopped over ${version} after ${(progress.bytes / MIB).toFixed(1)} MiB`);
      expect(progress.bytes).toBeLessThan(UNDER_WAY_MAX);
      expect(await count(response)).toBe(256 * MIB);
    });

    test('an application that does not read stops the client, and gets the rest when it does', async () => {
      const { request, answer } = await open('POST', '/held');
      const sent = { bytes: 0 };
      send(request, 256 * MIB, sent);
      await until('the request arrives', () => unread !== null);
      await standstill(() => sent.bytes);
      console.log(`stopped over ${version} after ${(sent.bytes / MIB).toFixed(1)} MiB`);
      expect(sent.bytes).toBeLessThan(UNDER_WAY_MAX);
      unread?.emit('weft:read');
      expect(await text(await answer)).toBe(String(256 * MIB));
    });
  },
);

/** Waits until `bytes` has been the same fifty times in a row: what could move has moved. */
async function standstill(bytes: () => number): Promise<void> {
  let last = -1;
  let same = 0;
  await until('nothing moves any more', () => {
    same = bytes() === last ? same + 1 : 0;
    last = bytes();
    return same > 50;
  });
}
