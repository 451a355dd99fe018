// The socket's promises over real loopback connections: one write a turn, order kept, backpressure, contained throws.
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { afterEach, expect, test } from 'vitest';
import { reportSocketThrows, SILENT, SOCKET_HIGH_WATER_BYTES, WireSocket } from '../../../sidecar/wire/socket.ts';

const open: { destroy(): void }[] = [];
afterEach(() => {
  for (const socket of open.splice(0)) socket.destroy();
});

async function pair(): Promise<{ wire: WireSocket; peer: Socket }> {
  const server = createServer({ allowHalfOpen: true });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const peer = connect({ port: (server.address() as AddressInfo).port, host: '127.0.0.1', allowHalfOpen: true });
  const [accepted] = (await once(server, 'connection')) as [Socket];
  server.close();
  open.push(peer, accepted);
  return { wire: new WireSocket(accepted), peer };
}

test('everything written in one turn leaves as one write, in order', async () => {
  const { wire, peer } = await pair();
  let writes = 0;
  const write = wire.socket.write.bind(wire.socket) as (...args: unknown[]) => boolean;
  wire.socket.write = ((...args: unknown[]) => {
    writes++;
    return write(...args);
  }) as typeof wire.socket.write;
  wire.write('head\xe9 ');
  wire.write(Buffer.from('bytes '));
  wire.write('tail');
  wire.end();
  const chunks: Buffer[] = [];
  for await (const chunk of peer) chunks.push(chunk as Buffer);
  expect(Buffer.concat(chunks).toString('latin1')).toBe('head\xe9 bytes tail');
  expect(writes).toBe(1);
});

test('large pieces travel between small ones without losing their place', async () => {
  const { wire, peer } = await pair();
  const large = Buffer.alloc(40_000, 'x');
  wire.write('a');
  wire.write(large);
  wire.write('b');
  wire.write(Buffer.from('c'));
  wire.end();
  let text = '';
  for await (const chunk of peer) text += (chunk as Buffer).toString('latin1');
  expect(text).toBe(`a${large.toString()}bc`);
});

/** What is handed to the socket underneath, in order. */
function written(wire: WireSocket): unknown[] {
  const pieces: unknown[] = [];
  const write = wire.socket.write.bind(wire.socket) as (...args: unknown[]) => boolean;
  wire.socket.write = ((...args: unknown[]) => {
    pieces.push(args[0]);
    return write(...args);
  }) as typeof wire.socket.write;
  return pieces;
}

test('what passes through is written by reference, but for small pieces while others wait', async () => {
  const { wire, peer } = await pair();
  const pieces = written(wire);
  const [first, large, small, smaller, last] = [1, 513, 512, 3, 700].map((size) => Buffer.alloc(size, size));
  for (const piece of [first, large, small, smaller, last]) wire.pass(piece as Buffer);
  wire.end();
  const chunks: Buffer[] = [];
  for await (const chunk of peer) chunks.push(chunk as Buffer);
  const sent = [first, large, small, smaller, last] as Buffer[];
  expect(Buffer.concat(chunks).equals(Buffer.concat(sent))).toBe(true);
  // The two small ones behind the first share one piece.
  expect(pieces.map((piece) => sent.indexOf(piece as Buffer))).toEqual([0, 1, -1, 4]);
});

test('what passes through keeps its place behind text, and counts towards the high-water mark', async () => {
  const { wire, peer } = await pair();
  expect(wire.write('head ')).toBe(true);
  expect(wire.pass(Buffer.from('body'))).toBe(true);
  expect(wire.pass(Buffer.alloc(SOCKET_HIGH_WATER_BYTES))).toBe(false);
  wire.end();
  let text = '';
  for await (const chunk of peer) text += (chunk as Buffer).toString('latin1');
  expect(text.slice(0, 9)).toBe('head body');
});

test.each([9, 16_384, 16_393, 60_000])(
  'a copy of %i bytes is whole, keeps its place and may be overwritten',
  async (size) => {
    const { wire, peer } = await pair();
    const bytes = Buffer.alloc(size, 'x');
    wire.write('a');
    wire.writeCopy(bytes, size);
    bytes.fill('-');
    wire.write('b');
    wire.end();
    let text = '';
    for await (const chunk of peer) text += (chunk as Buffer).toString('latin1');
    expect(text).toBe(`a${'x'.repeat(size)}b`);
  },
);

test('says stop above the high-water mark and go on once the peer has read', async () => {
  const { wire, peer } = await pair();
  peer.pause();
  const drained = new Promise<void>((resolve) => {
    wire.events = { ...SILENT, onDrain: resolve };
  });
  let written = 0;
  while (wire.write(Buffer.alloc(64 * 1024))) written += 64 * 1024;
  expect(written).toBeLessThan(SOCKET_HIGH_WATER_BYTES);
  expect(wire.bufferedBytes).toBeGreaterThanOrEqual(SOCKET_HIGH_WATER_BYTES);
  peer.resume();
  await drained;
  expect(wire.bufferedBytes).toBeLessThan(SOCKET_HIGH_WATER_BYTES);
});

test('half-close: after the peer ended, writing still works', async () => {
  const { wire, peer } = await pair();
  wire.events = {
    ...SILENT,
    onEnd() {
      wire.write('late answer');
      wire.end();
    },
  };
  peer.end('request');
  let text = '';
  for await (const chunk of peer) text += (chunk as Buffer).toString('latin1');
  expect(text).toBe('late answer');
});

test('a throw in a callback ends this connection only, and is reported', async () => {
  const { wire, peer } = await pair();
  const reported: string[] = [];
  reportSocketThrows((error) => reported.push(error.message));
  const closed = new Promise<Error | null>((resolve) => {
    wire.events = {
      ...SILENT,
      onBytes() {
        throw new Error('a bug');
      },
      onClose: resolve,
    };
  });
  peer.on('error', () => {});
  peer.write('x');
  expect((await closed)?.message).toBe('a bug');
  expect(reported).toEqual(['a bug']);
  expect(wire.isClosed).toBe(true);
});
