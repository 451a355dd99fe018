// Where sockets read to: bodies come in slabs on every kind of socket, what a receiver keeps is never written over, and
// what nobody holds is used again.

import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect as connectTls, createServer as createTlsServer, type TLSSocket } from 'node:tls';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { READERS_MAX, SLAB_BYTES, type Slab, slabOf, takeSlab } from '../../../sidecar/wire/slab.ts';
import { SILENT, WireSocket } from '../../../sidecar/wire/socket.ts';
import { type TestAuthority, testAuthority } from '../../support/identities.ts';

const open: { destroy(): void }[] = [];
const servers: Server[] = [];
const folder = mkdtempSync(join(tmpdir(), 'weft-reads-'));
let authority: TestAuthority;
let credentials: { readonly key: string; readonly cert: string };
beforeAll(async () => {
  authority = await testAuthority();
  const { privateKeyPem, chainPem } = await authority.issue('echo');
  credentials = { key: privateKeyPem, cert: chainPem };
});
afterAll(() => {
  authority.close();
  rmSync(folder, { recursive: true });
});
afterEach(() => {
  for (const socket of open.splice(0)) socket.destroy();
  for (const server of servers.splice(0)) server.close();
});

/** Both ends of a connection that `server` accepts. */
async function ends(server: Server, where: object, dial = connect): Promise<{ accepted: Socket; connected: Socket }> {
  servers.push(server);
  server.listen(where);
  await once(server, 'listening');
  const address = server.address();
  const to = typeof address === 'string' ? { path: address } : { port: (address as AddressInfo).port };
  const connected = dial({ host: '127.0.0.1', allowHalfOpen: true, ...to } as never);
  const [accepted] = (await once(
    server,
    server.listenerCount('secureConnection') > 0 ? 'secureConnection' : 'connection',
  )) as [Socket];
  open.push(accepted, connected);
  return { accepted, connected };
}

const clear = () => ends(createServer({ allowHalfOpen: true }), { port: 0, host: '127.0.0.1' });

async function tls(): Promise<{ accepted: Socket; connected: Socket }> {
  const server = createTlsServer({ ...credentials, allowHalfOpen: true, minVersion: 'TLSv1.3' }, () => {});
  const agreed = Promise.withResolvers<void>();
  const dial = (to: object): TLSSocket => connectTls({ ...to, rejectUnauthorized: false } as never, agreed.resolve);
  const both = await ends(server, { port: 0, host: '127.0.0.1' }, dial as never);
  await agreed.promise;
  return both;
}

async function unix(): Promise<{ accepted: Socket; connected: Socket }> {
  return ends(createServer({ allowHalfOpen: true }), { path: join(folder, 'reads.sock') });
}

/** Numbered bytes, so that whatever is written over shows. */
function numbered(bytes: number, seed: number): Buffer {
  const body = Buffer.allocUnsafe(bytes);
  for (let i = 0; i + 4 <= bytes; i += 4) body.writeUInt32LE((i * 2654435761 + seed) >>> 0, i);
  return body;
}

/** All chunks until the peer ends, kept as they came. */
function keep(wire: WireSocket): Promise<Buffer[]> {
  const chunks: Buffer[] = [];
  const { promise, resolve } = Promise.withResolvers<Buffer[]>();
  wire.events = { ...SILENT, onBytes: (chunk) => void chunks.push(chunk as Buffer), onEnd: () => resolve(chunks) };
  return promise;
}

test.each([
  ['clear', clear],
  ['TLS', tls],
  ['unix', unix],
] as const)('a body comes in slabs and whole to both ends of a %s connection', async (_kind, make) => {
  const { accepted, connected } = await make();
  for (const [from, to] of [
    [accepted, connected],
    [connected, accepted],
  ] as const) {
    const body = numbered(1024 * 1024, 7);
    const chunks = keep(new WireSocket(to));
    from.end(body);
    const kept = await chunks;
    expect(Buffer.concat(kept).equals(body)).toBe(true);
    // The first read is copied, and so is what is left for a last one; on this Node the rest needs no memory of its own.
    expect(kept.filter((chunk) => slabOf(chunk) !== undefined).length).toBeGreaterThan(kept.length / 2);
  }
});

test('what receivers keep is written over by nobody, however many read', async () => {
  const bodies = Array.from({ length: 6 }, (_, seed) => numbered(3 * SLAB_BYTES + 1_000 * seed, seed));
  const kept = await Promise.all(
    bodies.map(async (body) => {
      const { accepted, connected } = await clear();
      const chunks = keep(new WireSocket(accepted));
      connected.end(body);
      return chunks;
    }),
  );
  // A second load reads into whatever is free by now.
  const { accepted, connected } = await clear();
  const later = keep(new WireSocket(accepted));
  connected.end(numbered(8 * SLAB_BYTES, 99));
  await later;
  for (const [i, chunks] of kept.entries()) expect(Buffer.concat(chunks).equals(bodies[i] as Buffer)).toBe(true);
});

test('what is passed on and written lies in few slabs, one after the other', async () => {
  const [from, to] = [await clear(), await clear()];
  const source = new WireSocket(from.accepted);
  const sink = new WireSocket(to.accepted);
  const slabs = new Set<Slab>();
  source.events = {
    ...SILENT,
    onBytes(chunk) {
      const slab = slabOf(chunk);
      if (slab !== undefined) slabs.add(slab);
      slab?.notePassed(chunk.length);
      if (!sink.pass(chunk)) source.pause();
    },
    onEnd: () => sink.end(),
  };
  sink.events = { ...SILENT, onDrain: () => source.resume() };
  const body = numbered(64 * SLAB_BYTES, 3);
  from.connected.end(body);
  const received: Buffer[] = [];
  for await (const chunk of to.connected) received.push(chunk as Buffer);
  expect(Buffer.concat(received).equals(body)).toBe(true);
  // As many as lie between the two sockets' marks, not one for each time one is full.
  expect(slabs.size).toBeLessThan(16);
});

test('a slab is used again when each of its bytes is accounted for, and not before', () => {
  const slab = takeSlab();
  slab.give(100);
  slab.noteParsed(10);
  slab.notePassed(90);
  slab.noteWritten(90);
  const other = takeSlab();
  expect(other).not.toBe(slab); // It has room for more.
  slab.fill();
  expect(takeSlab()).toBe(slab);
  slab.give(100);
  slab.notePassed(60);
  slab.noteWritten(60);
  slab.fill();
  expect(takeSlab()).not.toBe(slab); // 40 bytes are somebody's.
  slab.noteParsed(40);
  expect(takeSlab()).toBe(slab);
  slab.give(100);
  slab.notePassed(100);
  slab.fill();
  expect(takeSlab()).not.toBe(slab); // The kernel has none of them yet.
  slab.noteWritten(100);
  expect(takeSlab()).toBe(slab);
});

test('connections above the bound copy, and read whole bodies all the same', async () => {
  const wires = await Promise.all(
    Array.from({ length: READERS_MAX + 1 }, async () => {
      const { accepted, connected } = await clear();
      const wire = new WireSocket(accepted);
      const { promise, resolve } = Promise.withResolvers<boolean>();
      let bytes = 0;
      let inSlab = false;
      wire.events = {
        ...SILENT,
        onBytes(chunk) {
          bytes += chunk.length;
          inSlab ||= slabOf(chunk) !== undefined;
          if (bytes === SLAB_BYTES) resolve(inSlab);
        },
      };
      connected.write(numbered(SLAB_BYTES, 1));
      return promise;
    }),
  );
  expect(wires.filter((inSlab) => !inSlab).length).toBeGreaterThan(0);
});
