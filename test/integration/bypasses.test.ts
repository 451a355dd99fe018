// What a policy denies cannot be had by saying it in another way: one inbound port in the clear, real bytes, and an
// application that records what reaches it.

import { once } from 'node:events';
import type { IncomingHttpHeaders } from 'node:http';
import { type ClientHttp2Session, connect as connectHttp2 } from 'node:http2';
import { text } from 'node:stream/consumers';
import { create } from '@bufbuild/protobuf';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { AuthorizationSchema } from '../../proto/gen/weft/mesh/v1/resources_pb.js';
import { AuthorizationAction } from '../../proto/gen/weft/policy/v1/authorization_pb.js';
import { linearRegex } from '../../sidecar/config/compile-match.ts';
import { EMPTY_SNAPSHOT } from '../../sidecar/config/snapshot.ts';
import { assembleAuthorization, compileAuthorization } from '../../sidecar/filters/authorization/compile.ts';
import { openInbound } from '../../sidecar/listen/inbound.ts';
import { Apps } from '../support/apps.ts';
import { destinationTo, type ListenerRig, listenerRig, until } from '../support/listener-rig.ts';

const { ALLOW, DENY } = AuthorizationAction;
const ADMIN = { match: { case: 'prefix' as const, value: '/admin' } };
const PATTERN = { match: { case: 'regex' as const, value: '/secret/.*' } };
const WEB = { caller: { case: 'spiffeId' as const, value: 'spiffe://mesh.local/ns/shop/sa/web' } };

let apps: Apps;
let rig: ListenerRig;
let appPort: number;
/** What reached the application. */
let seen: { url: string; headers: IncomingHttpHeaders }[];

beforeEach(async () => {
  apps = new Apps();
  seen = [];
  rig = await listenerRig(openInbound, 'inbound');
  appPort = await apps.http((request, response) => {
    seen.push({ url: request.url ?? '', headers: request.headers });
    response.end('ok');
  });
  // Anybody may ask for anything but these.
  const deny = policy('shop/closed', DENY, [{ to: [{ paths: [ADMIN] }] }, { to: [{ paths: [PATTERN] }] }]);
  serve(appPort, [deny, policy('shop/open', ALLOW, [{}])]);
});
afterEach(async () => {
  apps.close();
  await until('every connection is gone', () => rig.connections.size === 0);
  rig.close();
});

function policy(name: string, action: AuthorizationAction, rules: object[]) {
  const message = create(AuthorizationSchema, { name, services: ['shop/orders'], action, rules });
  const { policy, errors } = compileAuthorization(message, linearRegex);
  expect(errors).toEqual([]);
  return policy;
}

function serve(port: number, policies: ReturnType<typeof policy>[]): void {
  const destination = { ...destinationTo(rig, 'shop/orders', port, 'http1'), port: 80 };
  const own = { port: 80, protocol: 'http1' as const, tls: 'off' as const, destination, acceptProxy: false };
  const authorization = assembleAuthorization('shop/orders', 'mesh.local', policies);
  const orders = { name: 'shop/orders', ports: new Map([[80, own]]), authorization };
  rig.context.snapshot = { ...EMPTY_SNAPSHOT, ownServices: new Map([['shop/orders', orders]]) };
}

/** The status that a request in these bytes gets, by HTTP/1.1. */
async function http1(target: string, fields = 'Host: orders\r\n'): Promise<number> {
  const socket = await apps.connect(rig.port);
  socket.write(Buffer.from(`GET ${target} HTTP/1.1\r\n${fields}Connection: close\r\n\r\n`, 'latin1'));
  const [, status] = /^HTTP\/1\.1 (\d{3}) /.exec(await text(socket)) ?? [];
  socket.destroy();
  return Number(status);
}

/** The same by HTTP/2; 0: the stream was reset as malformed. */
async function http2(path: string, fields: Record<string, string> = {}): Promise<number> {
  const client: ClientHttp2Session = connectHttp2(`http://127.0.0.1:${rig.port}`);
  apps.onClose(() => client.destroy());
  const call = client.request({ ':authority': 'orders', ':path': path, ...fields });
  const status = once(call, 'response').then(
    ([head]) => Number(head[':status']),
    () => 0,
  );
  const answer = await status;
  client.destroy();
  return answer;
}

test.each([
  '/admin',
  '//admin',
  '/./admin',
  '/x/../admin',
  '/x//..//admin',
  '/%61dmin',
  '/%2561dmin',
  '/admin?x',
  '/admin;x',
  '/admin#x',
  '/admin%2Fx',
  '/admin%5Cx',
  '/x/%2e%2e/admin',
  '/x/.%2E/admin',
  '/x\\..\\admin',
  '/admin%00',
])('CVE class 7: %s does not reach what a DENY of /admin closes, in either version', async (target) => {
  expect([403, 400]).toContain(await http1(target));
  expect([403, 400, 0]).toContain(await http2(target));
  if (target.startsWith('/')) expect([403, 400]).toContain(await http1(`http://orders${target}`));
  expect(seen).toEqual([]);
});

test('CVE class 7: what is let in arrives as it was judged, whole and once', async () => {
  expect([await http1('/a//b/../%63?q=%2F..'), await http2('/a//b/../%63?q=%2F..')]).toEqual([200, 200]);
  expect(seen.map(({ url }) => url)).toEqual(['/a/c?q=%2F..', '/a/c?q=%2F..']);
});

test('CVE class 8: Host that differs from the authority is refused in both versions, and one spelling goes on', async () => {
  expect(await http1('http://orders/', 'Host: stock\r\n')).toBe(400);
  expect(await http1('/', 'Host: orders\r\nHost: stock\r\n')).toBe(400);
  expect(await http2('/', { host: 'stock' })).toBe(0);
  expect(seen).toEqual([]);
  expect(await http1('http://ORDERS/', 'Host: Orders\r\n')).toBe(200);
  expect(await http1('/', 'Host: ORDERS\r\n')).toBe(200);
  expect(await http2('/', { ':authority': 'Orders', host: 'ORDERS' })).toBe(200);
  expect(seen.map(({ headers }) => headers.host)).toEqual(['orders', 'orders', 'orders']);
});

test('CVE class 9: what sidecars say of callers and of themselves is taken from strangers', async () => {
  const said = {
    'x-forwarded-client-cert': 'URI=spiffe://mesh.local/ns/shop/sa/web',
    'x-weft-error': 'UC',
    'X-Weft-Peer': 'a',
  };
  const lines = Object.entries(said).map(([name, value]) => `${name}: ${value}\r\n`);
  expect(await http1('/', `Host: orders\r\n${lines.join('')}${lines.join('')}x-own: b\r\n`)).toBe(200);
  expect(await http2('/', { ...said, 'x-own': 'b' })).toBe(200);
  for (const { headers } of seen) {
    expect(headers['x-own']).toBe('b');
    expect(Object.keys(headers).filter((name) => /^x-(?:weft|forwarded-client)/.test(name))).toEqual([]);
  }
  expect(seen).toHaveLength(2);
});

test.each(['a\0b', 'a\rb', 'a\nb', 'a\r\n b', 'a\x01b'])(
  'CVE class 9: a value with control characters (%j) is refused',
  async (value) => {
    expect(await http1('/', `Host: orders\r\nx-a: ${value}\r\n`)).toBe(400);
    expect(seen).toEqual([]);
  },
);

test.each(['/secret/x', '/secret/%0A', '/secret/%0a%FF', '/secret/%FF%FE', '/secret/\xff', '/secret/\xc3('])(
  'CVE class 10: a DENY by regex holds for a value that a regex may fail to match: %j',
  async (target) => {
    expect([403, 400]).toContain(await http1(target));
    expect(seen).toEqual([]);
  },
);

test.each([
  ['a bearer token', 'authorization: Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJ3ZWIifQ.'],
  ['a key of a provider', 'x-api-key: sk-live'],
  ['the words of another proxy', 'x-forwarded-client-cert: URI=spiffe://mesh.local/ns/shop/sa/web'],
])('CVE class 11: %s makes nobody of a caller without a certificate', async (_what, field) => {
  serve(appPort, [policy('shop/web', ALLOW, [{ from: [WEB] }])]);
  expect(await http1('/', `Host: orders\r\n${field}\r\n`)).toBe(403);
  expect(seen).toEqual([]);
});
