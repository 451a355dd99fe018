// Two real sidecars that know each other by snapshot and identity files alone: mutual TLS and authorization between
// their processes, the local port, what is counted and logged, and what admin lets an operator do.
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { connect as connectTls } from 'node:tls';
import { expect, test } from 'vitest';
import {
  AuthorizationSchema,
  EndpointSchema,
  ServiceSchema,
  TelemetrySchema,
} from '../../proto/gen/weft/mesh/v1/resources_pb.js';
import { AuthorizationAction } from '../../proto/gen/weft/policy/v1/authorization_pb.js';
import { callHttp } from '../support/apps.ts';
import type { SidecarProcess } from '../support/sidecar-process.ts';
import { identityOptions, useApps, useAuthority, useSidecars } from '../support/use.ts';
import { resource, until } from '../support/worker-rig.ts';

const spiffe = (account: string): string => `spiffe://mesh.local/ns/shop/sa/${account}`;

const apps = useApps();
const authority = useAuthority();
const processes = useSidecars();

const ORDERS = resource(ServiceSchema, 'shop/orders', {
  name: 'shop/orders',
  ports: [{ port: 80 }],
  identities: [spiffe('orders')],
});
const LOG = resource(TelemetrySchema, 'shop/log', {
  name: 'shop/log',
  services: ['shop/orders'],
  spec: { accessLog: { samplingPercent: 100 } },
});

/** ALLOW for `web`, but DENY for /secret. */
const POLICIES = [
  resource(AuthorizationSchema, 'shop/callers', {
    name: 'shop/callers',
    services: ['shop/orders'],
    action: AuthorizationAction.ALLOW,
    rules: [{ name: 'web', from: [{ caller: { case: 'spiffeId', value: spiffe('web') } }] }],
  }),
  resource(AuthorizationSchema, 'shop/closed', {
    name: 'shop/closed',
    services: ['shop/orders'],
    action: AuthorizationAction.DENY,
    rules: [{ name: 'secret', to: [{ paths: [{ match: { case: 'prefix', value: '/secret' } }] }] }],
  }),
];

async function identityOf(account: string): Promise<string[]> {
  return identityOptions(processes.folder, account, await authority.issue(account));
}

/** The receiver, with an application that says who called. */
async function orders(): Promise<SidecarProcess> {
  const app = await apps.http((request, response) => {
    response.end(`${request.url} for ${request.headers['x-forwarded-client-cert']}`);
  });
  const snapshot = processes.snapshot([ORDERS, ...POLICIES, LOG], spiffe('orders'));
  return processes.start(['--snapshot', snapshot, '--app', `orders=${app}`, ...(await identityOf('orders'))]);
}

/** A caller of `receiver`, without a Telemetry. */
async function caller(account: string, receiver: SidecarProcess, ...args: string[]): Promise<SidecarProcess> {
  const endpoint = resource(EndpointSchema, 'shop/orders/one', {
    service: 'shop/orders',
    address: '127.0.0.1',
    ports: { 80: receiver.ports.inbound as number },
    spiffeId: spiffe('orders'),
  });
  const snapshot = processes.snapshot([ORDERS, endpoint], spiffe(account));
  return processes.start(['--snapshot', snapshot, ...args, ...(await identityOf(account))]);
}

test('an allowed caller comes through by Host and by the local port, known by its identity', async () => {
  const receiver = await orders();
  const web = await caller('web', receiver, '--local', 'orders=0');
  const expected = { status: 200, body: `/a for URI=${spiffe('web')}` };
  expect(await callHttp(web.ports.outbound as number, 'orders', { path: '/a' })).toMatchObject(expected);
  expect(await callHttp(web.ports['local:orders'] as number, 'anything', { path: '/a' })).toMatchObject(expected);
  await until('both are logged', () => receiver.out.trim().split('\n').length === 2);
  const lines = receiver.out
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as object);
  expect(lines[0]).toMatchObject({ direction: 'inbound', status: 200, flag: '-', peer: spiffe('web') });
  web.child.kill('SIGTERM');
  expect(await web.ended()).toBe(0);
  // No Telemetry asked for a log on this side.
  expect(web.out).toBe('');
});

test('a denied call is 403 at the caller, and the receiver names the rule in log and metric', async () => {
  const receiver = await orders();
  const web = await caller('web', receiver);
  const batch = await caller('batch', receiver);
  const denied = await callHttp(web.ports.outbound as number, 'orders', { path: '/secret/x' });
  expect([denied.status, denied.headers['x-weft-error'], denied.body]).toEqual([403, 'RBAC', 'access denied\n']);
  expect((await callHttp(batch.ports.outbound as number, 'orders')).status).toBe(403);
  await until('both are logged', () => receiver.out.trim().split('\n').length === 2);
  const details = receiver.out
    .trim()
    .split('\n')
    .map((line) => (JSON.parse(line) as { detail: string }).detail);
  expect(details).toEqual(['shop/closed#secret', '(no ALLOW matches)']);
  for (const rule of details) expect(await receiver.metric('weft_authorization_denied_total', { rule })).toBe(1);
  const query = `direction=inbound&authority=orders&path=/secret/x&caller=${spiffe('web')}`;
  expect((await receiver.get('admin', `/explain?${query}`)).text).toContain('shop/closed#secret');
});

test('bytes that break HTTP are answered 400, closed, and counted by reason', async () => {
  const web = await caller('web', await orders());
  const socket = await apps.connect(web.ports.outbound as number);
  socket.write('GET / HTTP/1.1\r\nhost: orders\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n');
  expect(await text(socket)).toMatch(/^HTTP\/1\.1 400 [\s\S]*connection: close/i);
  socket.end();
  await until('it is counted', async () => (await web.metric('weft_malformed_total', { listener: 'outbound' })) === 1);
  expect((await web.get('metrics', '/metrics')).text).toMatch(
    /weft_malformed_total\{listener="outbound",reason="\w+"\} 1/,
  );
});

test('CVE class 14: strangers at the inbound port are one line of the log, and what they send is none', async () => {
  const receiver = await orders();
  for (let i = 0; i < 3; i++) {
    const stranger = connectTls({
      host: '127.0.0.1',
      port: receiver.ports.inbound as number,
      servername: '80.orders.shop',
      ALPNProtocols: ['h2'],
      rejectUnauthorized: false,
    });
    stranger.on('error', () => {});
    await once(stranger, 'close');
  }
  const reason = { reason: 'noCertificate' };
  await until('all are counted', async () => (await receiver.metric('weft_handshake_failures_total', reason)) === 3);
  const told = () => receiver.err.split('\n').filter((line) => line.includes('handshakes refused'));
  await until('it is told', () => told().length > 0);
  const lines = told();
  expect(lines.map((line) => JSON.parse(line))).toMatchObject([
    { level: 40, reason: 'noCertificate', count: 1, peer: '127.0.0.1', msg: expect.stringContaining('no certificate') },
  ]);
});

test('the log level changes only where the operator allowed it, to a level that there is', async () => {
  const receiver = await orders();
  const web = await caller('web', receiver, '--admin-log-level');
  const put = async (sidecar: SidecarProcess, level: string): Promise<number> => {
    const url = `http://127.0.0.1:${sidecar.ports.admin}/log-level?level=${level}`;
    return (await fetch(url, { method: 'PUT' })).status;
  };
  expect(await put(receiver, 'debug')).toBe(405);
  expect(await put(web, 'loud')).toBe(400);
  expect(await put(web, 'error')).toBe(200);
  expect((await web.get('admin', '/log-level')).text).toBe('{"level":"error"}\n');
  const before = web.err;
  web.child.kill('SIGTERM');
  expect(await web.ended()).toBe(0);
  expect(web.err).toBe(before);
});
