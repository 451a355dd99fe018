// Callers that keep a connection busy and move next to nothing, at a real listener: each is ended, and counted by the
// name of its guard. The test looks, as the worker does every ten seconds.

import { once } from 'node:events';
import http2 from 'node:http2';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { LIMITS } from '../../sidecar/base/limits.ts';
import { EMPTY_SNAPSHOT } from '../../sidecar/config/snapshot.ts';
import { openInbound } from '../../sidecar/listen/inbound.ts';
import { Apps } from '../support/apps.ts';
import { destinationTo, type ListenerRig, listenerRig, until } from '../support/listener-rig.ts';

/** Looks in a row after which a reader is too slow: five minutes. */
const SLOW_LOOKS = LIMITS.slowReadMs / LIMITS.paceEveryMs;
const ANYONE = {
  verdict: { allowed: true, rule: 'shop/orders#all' },
  always: false,
  anyone: true,
  spiffeIds: new Set<string>(),
  namespaces: new Set<string>(),
  operations: null,
};
let apps: Apps;
let rig: ListenerRig;
/** Answers that the application has given whole. */
let given: number;

beforeEach(async () => {
  apps = new Apps();
  given = 0;
  rig = await listenerRig(openInbound, 'inbound');
  const port = await apps.http((request, response) => {
    response.once('finish', () => given++);
    if (request.method === 'GET') response.end(Buffer.alloc(request.url === '/large' ? 32 * 1024 * 1024 : 1_000));
  });
  const destination = { ...destinationTo(rig, 'shop/orders', port, 'http1'), port: 80 };
  const own = { port: 80, protocol: 'http1' as const, tls: 'off' as const, destination, acceptProxy: false };
  const authorization = { trustDomain: 'mesh.local', namespace: 'shop', deny: [], allow: [ANYONE], hasAllow: true };
  const orders = { name: 'shop/orders', ports: new Map([[80, own]]), authorization };
  rig.context.snapshot = { ...EMPTY_SNAPSHOT, ownServices: new Map([['shop/orders', orders]]) };
});
afterEach(async () => {
  apps.close();
  await until('every connection is gone', () => rig.connections.size === 0);
  rig.close();
});

function look(): void {
  for (const connection of [...rig.connections]) connection.look();
}

const counted = (guard: string): number => rig.count('guards', 'inbound', guard);

test('CVE class 5: an HTTP/2 answer for which the caller gives no window is dropped after five minutes', async () => {
  const session = http2.connect(`http://127.0.0.1:${rig.port}`, { settings: { initialWindowSize: 0 } });
  apps.onClose(() => session.destroy());
  const call = session.request({ ':authority': 'orders' });
  const failed = once(call, 'error');
  await once(call, 'response');
  // Nothing but the look could end it now: the application is done with it.
  await until('the answer is whole, and held here', () => given === 1 && [...rig.connections][0]?.heldBytes === 1_000);
  for (let i = 1; i < SLOW_LOOKS; i++) look();
  expect([counted('zeroWindow'), call.closed]).toEqual([0, false]);
  look();
  expect(String((await failed)[0])).toContain('NGHTTP2_ENHANCE_YOUR_CALM');
  expect([counted('zeroWindow'), counted('slowRead'), [...rig.connections][0]?.heldBytes]).toEqual([1, 0, 0]);
});

test('CVE class 5: a caller that asks and does not read is ended after five minutes', async () => {
  const client = await apps.connect(rig.port);
  client.on('error', () => {});
  client.write('GET /large HTTP/1.1\r\nhost: orders\r\n\r\n');
  await until('the answer waits for it', () => ([...rig.connections][0]?.heldBytes ?? 0) > 0);
  let looks = 0;
  // The kernel takes some of it yet, and then nothing any more.
  await until('it is counted', () => {
    look();
    looks++;
    return counted('slowRead') === 1;
  });
  expect(looks).toBeGreaterThanOrEqual(SLOW_LOOKS);
  await until('its connection is gone', () => rig.connections.size === 0);
});

test('CVE class 5: a request body with a length that brings less than 240 bytes a second is answered 408', async () => {
  const client = await apps.connect(rig.port);
  client.write('POST / HTTP/1.1\r\nhost: orders\r\ncontent-length: 100\r\n\r\nx');
  await until('it is under way', () => [...rig.connections][0]?.isIdle === false);
  look();
  expect(counted('slowBody')).toBe(0);
  const answer = once(client, 'data');
  look();
  expect(String((await answer)[0])).toMatch(/^HTTP\/1\.1 408 /);
  expect(counted('slowBody')).toBe(1);
});
