// Opaque bytes between two sockets of one worker: never copied on the way from the client, copied once on the way back, and
// held only up to a bound while the other side does not read.
import { Socket } from 'node:net';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { EMPTY_SNAPSHOT } from '../../sidecar/config/snapshot.ts';
import { openLocal } from '../../sidecar/listen/outbound.ts';
import { SOCKET_HIGH_WATER_BYTES, WireSocket } from '../../sidecar/wire/socket.ts';
import { Apps } from '../support/apps.ts';
import { destinationTo, type ListenerRig, listenerRig, until } from '../support/listener-rig.ts';

/** What one read may bring. */
const READ_BYTES_MAX = 64 * 1024;

let apps: Apps;
let rig: ListenerRig;
beforeEach(async () => {
  apps = new Apps();
  const local = { service: 'shop/orders', servicePort: 80 };
  rig = await listenerRig((context, config) => openLocal(context, { ...config, ...local }), 'local');
});
afterEach(async () => {
  vi.restoreAllMocks();
  apps.close();
  await until('every connection is gone', () => rig.connections.size === 0);
  rig.close();
});

/** A client, and the application's side of its connection through the listener. */
async function connected(): Promise<{ client: Socket; server: Socket }> {
  const accepted: Socket[] = [];
  const port = await apps.tcp((socket) => void accepted.push(socket.pause()));
  const destination = { ...destinationTo(rig, 'shop/orders', port, 'tcp', 'outbound'), port: 80 };
  const orders = { name: 'shop/orders', ports: new Map([[80, destination]]), http: null, localPort: 0 };
  rig.context.snapshot = { ...EMPTY_SNAPSHOT, services: new Map([['shop/orders', orders]]) };
  const client = await apps.connect(rig.port);
  await until('the application is connected', () => accepted.length === 1);
  return { client, server: accepted[0] as Socket };
}

/** Everything that the listener's sockets read, and everything that any socket was told to write. */
function watched(): { read: unknown[]; wrote: unknown[]; wires: Set<WireSocket> } {
  const seen = { read: [] as unknown[], wrote: [] as unknown[], wires: new Set<WireSocket>() };
  const { receive } = WireSocket.prototype;
  vi.spyOn(WireSocket.prototype, 'receive').mockImplementation(function (this: WireSocket, chunk) {
    seen.wires.add(this);
    seen.read.push(chunk);
    receive.call(this, chunk);
  });
  const write = Socket.prototype.write as (...args: unknown[]) => boolean;
  vi.spyOn(Socket.prototype, 'write').mockImplementation(function (this: Socket, ...args: unknown[]) {
    seen.wrote.push(args[0]);
    return write.apply(this, args);
  });
  return seen;
}

test.each([100, 4096, 1_000_000])('%i bytes: what is read is what is written, both ways', async (size) => {
  const { client, server } = await connected();
  const seen = watched();
  let atServer = 0;
  let atClient = 0;
  server.on('data', (data: Buffer) => {
    atServer += data.length;
  });
  client.on('data', (data: Buffer) => {
    atClient += data.length;
  });
  server.resume();
  const body = Buffer.alloc(size, 'x');
  client.write(body);
  await until('it is there', () => atServer === size);
  server.write(body);
  await until('it is back', () => atClient === size);
  const passed = seen.wrote.filter((piece) => piece !== body);
  expect(passed.length).toBeGreaterThan(0);
  expect(passed.every((piece) => seen.read.includes(piece))).toBe(true);
  client.destroy();
});

test.each(['client', 'server'] as const)('a reader that stops stops the sender: %s', async (sender) => {
  const ends = await connected();
  const seen = watched();
  const pause = vi.spyOn(WireSocket.prototype, 'pause');
  const from = ends[sender];
  const to = sender === 'client' ? ends.server : ends.client;
  from.resume();
  to.pause();
  const total = 32 * 1024 * 1024;
  from.end(Buffer.alloc(total, 'x'));
  await until('the reading side is paused', () => pause.mock.calls.length > 0);
  for (const { bufferedBytes } of seen.wires)
    expect(bufferedBytes).toBeLessThan(SOCKET_HIGH_WATER_BYTES + READ_BYTES_MAX);
  let arrived = 0;
  let most = 0;
  to.on('data', (data: Buffer) => {
    arrived += data.length;
    for (const { bufferedBytes } of seen.wires) most = Math.max(most, bufferedBytes);
  });
  to.resume();
  await until('all of it arrived', () => arrived === total);
  // What one turn reads may come on top, once for each read that was under way.
  expect(most).toBeLessThan(SOCKET_HIGH_WATER_BYTES + 2 * READ_BYTES_MAX);
  to.end();
});
