// An opaque connection lives for as long as something moves in it, and not an hour longer; with a clock that the test moves.
import { afterEach, beforeEach, expect, test } from 'vitest';
import { TimerWheel } from '../../sidecar/base/timer-wheel.ts';
import { EMPTY_SNAPSHOT } from '../../sidecar/config/snapshot.ts';
import { openInbound } from '../../sidecar/listen/inbound.ts';
import { openLocal, openOutbound } from '../../sidecar/listen/outbound.ts';
import { Apps } from '../support/apps.ts';
import { clientHello, records, serverName } from '../support/client-hello.ts';
import { destinationTo, type ListenerRig, listenerRig, until } from '../support/listener-rig.ts';

const HOUR_MS = 3_600_000;
const MINUTE_MS = 60_000;

/** Time that stands still until `advance`, which rings what falls due on the way. */
class ManualTime {
  readonly clock = { nowMs: () => this.now };
  readonly wheel: TimerWheel;
  private now = 0;
  private alarm: { atMs: number; ring: () => void } | null = null;

  constructor() {
    this.wheel = new TimerWheel(this.clock, {
      set: (delayMs, ring) => {
        this.alarm = { atMs: this.now + delayMs, ring };
      },
    });
  }

  advance(ms: number): void {
    const end = this.now + ms;
    while (this.alarm !== null && this.alarm.atMs <= end) {
      const { atMs, ring } = this.alarm;
      this.alarm = null;
      this.now = Math.max(this.now, atMs);
      ring();
    }
    this.now = end;
  }
}

let apps: Apps;
let time: ManualTime;
let rig: ListenerRig;

beforeEach(() => {
  apps = new Apps();
  time = new ManualTime();
});
afterEach(async () => {
  apps.close();
  await until('every connection is gone', () => rig.connections.size === 0);
  rig.close();
});

function serve(port: number): void {
  const destination = { ...destinationTo(rig, 'shop/orders', port, 'tcp', 'outbound'), port: 80 };
  const orders = { name: 'shop/orders', ports: new Map([[80, destination]]), http: null, localPort: 0 };
  rig.context.snapshot = { ...EMPTY_SNAPSHOT, services: new Map([['shop/orders', orders]]) };
}

test('opaque TCP is cut after an hour without a byte in either direction', async () => {
  const local = { service: 'shop/orders', servicePort: 80 };
  rig = await listenerRig((context, config) => openLocal(context, { ...config, ...local }), 'local', time);
  let heard = '';
  let ended = false;
  serve(
    await apps.tcp((socket) => {
      socket.on('data', (data) => {
        heard += data;
        socket.write('!');
      });
      socket.once('end', () => {
        ended = true;
      });
    }),
  );
  const client = await apps.connect(rig.port);
  let answers = '';
  let over = false;
  client.on('data', (data) => {
    answers += data;
  });
  client.once('end', () => {
    over = true;
  });
  for (let round = 1; round <= 4; round++) {
    client.write('?');
    await until('it is answered', () => answers.length === round);
    time.advance(50 * MINUTE_MS);
  }
  expect([heard, over, ended]).toEqual(['????', false, false]);
  // Looked at once an hour: what moved right after one look is forgiven until the next but one.
  time.advance(2 * HOUR_MS);
  await until('both sides are closed', () => over && ended);
  await until('it is recorded', () => {
    time.advance(100);
    return rig.records.length === 1;
  });
  expect(rig.records[0]).toMatchObject({ flag: 'SI', route: '(tcp)', service: 'shop/orders' });
});

test('a connection that never says what it speaks is closed after five minutes, and counted', async () => {
  rig = await listenerRig(openOutbound, 'outbound', time);
  const client = await apps.connect(rig.port);
  let over = false;
  client.resume().once('end', () => {
    over = true;
  });
  await until('it is accepted', () => rig.connections.size === 1);
  time.advance(4 * MINUTE_MS);
  expect(rig.connections.size).toBe(1);
  time.advance(2 * MINUTE_MS);
  await until('it is closed', () => over);
  expect(rig.count('guards', 'outbound', 'detectTimeout')).toBe(1);
});

test('one that stops within its first bytes is closed after ten seconds', async () => {
  rig = await listenerRig(openOutbound, 'outbound', time);
  const client = await apps.connect(rig.port);
  let over = false;
  client.resume().once('end', () => {
    over = true;
  });
  client.write('PRI * HT');
  // The bytes arrive in their own time; ten seconds later it is over, long before five minutes.
  await until('it is closed', () => {
    time.advance(100);
    return over;
  });
  expect(rig.count('guards', 'outbound', 'detectTimeout')).toBe(1);
  expect(time.clock.nowMs()).toBeLessThan(2 * MINUTE_MS);
});

test('CVE class 5: beside TLS, a connection in the clear that says nothing is closed after ten seconds, and counted', async () => {
  rig = await listenerRig(openInbound, 'inbound', time);
  const destination = { ...destinationTo(rig, 'shop/orders', 1, 'http1'), port: 80 };
  const own = { port: 80, protocol: 'http1' as const, tls: 'off' as const, destination, acceptProxy: false };
  const authorization = { trustDomain: 'mesh.local', namespace: 'shop', deny: [], allow: [], hasAllow: false };
  const orders = { name: 'shop/orders', ports: new Map([[80, own]]), authorization };
  rig.context.snapshot = { ...EMPTY_SNAPSHOT, ownServices: new Map([['shop/orders', orders]]) };
  const client = await apps.connect(rig.port);
  let over = false;
  client.on('error', () => {});
  client.resume().once('end', () => {
    over = true;
  });
  await until('its time begins', () => time.wheel.armedCount === 1);
  time.advance(9_900);
  expect([over, time.wheel.armedCount]).toEqual([false, 1]);
  time.advance(200);
  await until('it is closed', () => over);
  expect([rig.count('guards', 'inbound', 'detectTimeout'), time.wheel.armedCount]).toEqual([1, 0]);
});

test('CVE class 5: a ClientHello that is not complete after ten seconds is refused, and counted (CVE-2020-12603: tiny pieces)', async () => {
  rig = await listenerRig(openOutbound, 'outbound', time);
  const client = await apps.connect(rig.port);
  let said = Buffer.alloc(0);
  let over = false;
  client.on('data', (data: Buffer) => {
    said = Buffer.concat([said, data]);
  });
  client.once('end', () => {
    over = true;
  });
  const hello = records(clientHello({ extensions: [serverName('db.shop')] }));
  client.write(hello.subarray(0, 20));
  await until('it is refused', () => {
    // Each piece comes in time for the next, but all of it does not.
    if (!client.writableEnded && time.clock.nowMs() < MINUTE_MS) client.write(Buffer.of(0));
    time.advance(1000);
    return over;
  });
  // RFC 8446 §6.2: decode_error.
  expect(said).toEqual(Buffer.of(0x15, 3, 3, 0, 2, 2, 50));
  expect(rig.count('serverNames', 'outbound', 'timeout')).toBe(1);
});

test('a PROXY header that is not complete after ten seconds is refused, and counted', async () => {
  rig = await listenerRig(openInbound, 'inbound', time);
  const destination = { ...destinationTo(rig, 'shop/orders', 1, 'tcp'), port: 80 };
  const own = { port: 80, protocol: 'tcp' as const, tls: 'off' as const, destination, acceptProxy: true };
  const authorization = { trustDomain: 'mesh.local', namespace: 'shop', deny: [], allow: [], hasAllow: false };
  const orders = { name: 'shop/orders', ports: new Map([[80, own]]), authorization };
  rig.context.snapshot = { ...EMPTY_SNAPSHOT, ownServices: new Map([['shop/orders', orders]]) };
  const client = await apps.connect(rig.port);
  let over = false;
  client.resume().once('close', () => {
    over = true;
  });
  client.once('end', () => client.end());
  client.write('PROXY TCP4 203.0.113.7');
  await until('its beginning was read', () => rig.connections.size === 1);
  await until('it is refused', () => {
    time.advance(1000);
    return over;
  });
  expect(rig.count('proxyHeaders', 'shop/orders', 'timeout')).toBe(1);
  expect(time.clock.nowMs()).toBeLessThan(HOUR_MS);
});
