// Unix sockets of applications on both sides of the mesh, and two sidecars that speak IPv6 to each other: real processes.
import { once } from 'node:events';
import { existsSync, lstatSync, renameSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { EndpointSchema, ServiceSchema } from '../../proto/gen/weft/mesh/v1/resources_pb.js';
import { Protocol } from '../../proto/gen/weft/policy/v1/service_pb.js';
import { Apps } from '../support/apps.ts';
import { type TestAuthority, testAuthority } from '../support/identities.ts';
import { type SidecarProcess, SidecarProcesses } from '../support/sidecar-process.ts';
import { identityOptions } from '../support/use.ts';
import { endpoint, resource, service } from '../support/worker-rig.ts';

const spiffe = (account: string): string => `spiffe://mesh.local/ns/shop/sa/${account}`;

let apps: Apps;
let authority: TestAuthority;
let processes: SidecarProcesses;
const servers: net.Server[] = [];

beforeEach(async () => {
  apps = new Apps();
  authority = await testAuthority();
  processes = new SidecarProcesses();
});
afterEach(async () => {
  for (const server of servers.splice(0)) {
    if (server instanceof http.Server) server.closeAllConnections();
    server.close();
  }
  await processes.close();
  authority.close();
  apps.close();
});

async function listen(server: net.Server, where: net.ListenOptions): Promise<void> {
  servers.push(server);
  server.listen(where);
  await once(server, 'listening');
}

async function get(socketPath: string, path = '/'): Promise<string> {
  const request = http.get({ socketPath, path, agent: false });
  const [response] = (await once(request, 'response')) as [http.IncomingMessage];
  return `${response.statusCode} ${await text(response)}`;
}

async function identityOf(account: string): Promise<string[]> {
  return identityOptions(processes.folder, account, await authority.issue(account));
}

test.each([
  ['a unix socket', () => ({ path: join(processes.folder, 'app.sock') }), 'unix:'],
  ['::1 alone', () => ({ host: '::1', port: 0 }), ''],
])(
  'an application on %s is called through two sidecars over IPv6, from a unix socket',
  async (_what, where, prefix) => {
    const app = http.createServer((request, response) => void response.end(`${request.url} says hello`));
    await listen(app, where());
    const address = app.address();
    const place = typeof address === 'string' ? `${prefix}${address}` : `${address?.port}`;
    const orders = { name: 'shop/orders', ports: [{ port: 80 }], identities: [spiffe('orders')] };
    const known = resource(ServiceSchema, 'shop/orders', orders);
    const hosts = ['--host', '::1', '--inbound-host', '::1', '--admin-host', '::1'];
    const receiver = await processes.start([
      ...['--snapshot', processes.snapshot([known], spiffe('orders')), '--app', `orders=${place}`, ...hosts],
      ...(await identityOf('orders')),
    ]);
    const far = resource(EndpointSchema, 'shop/orders/one', {
      service: 'shop/orders',
      address: '::1',
      ports: { 80: receiver.ports.inbound as number },
      spiffeId: spiffe('orders'),
    });
    const socket = join(processes.folder, 'orders.sock');
    const web = await processes.start([
      ...['--snapshot', processes.snapshot([known, far], spiffe('web')), '--local', `orders=unix:${socket}`, ...hosts],
      ...(await identityOf('web')),
    ]);
    expect(await get(socket, '/a')).toBe('200 /a says hello');
    const request = http.get({
      host: '::1',
      port: web.ports.outbound,
      path: '/b',
      headers: { host: 'orders' },
      agent: false,
    });
    const [response] = (await once(request, 'response')) as [http.IncomingMessage];
    expect(await text(response)).toBe('/b says hello');
    const admin = await (await fetch(`http://[::1]:${web.ports.admin}/endpoints`)).text();
    expect(admin).toContain(`"address":"[::1]:${receiver.ports.inbound}"`);
  },
);

/** A sidecar with `orders` at a unix socket. */
async function local(socket: string, ...args: string[]): Promise<SidecarProcess> {
  const app = await apps.http((_request, response) => void response.end('hello'));
  const snapshot = processes.snapshot([service('shop/orders'), endpoint('shop/orders', app)]);
  return processes.run([
    '--snapshot',
    snapshot,
    '--local',
    `orders=unix:${socket}`,
    ...args,
    '--ready-file',
    `${socket}.ready`,
  ]);
}

const served = (socket: string) => expect.poll(() => existsSync(`${socket}.ready`), { timeout: 20_000 }).toBe(true);

test.each(['1', '2'])(
  'the socket of %s workers is this user’s alone, replaces what a dead program left, and goes at the end',
  async (workers) => {
    const socket = join(processes.folder, 'orders.sock');
    // What nginx leaves after SIGKILL: a socket that nobody listens on.
    const dead = net.createServer();
    await listen(dead, { path: `${socket}.bound` });
    renameSync(`${socket}.bound`, socket);
    dead.close();
    await once(dead, 'close');
    expect(lstatSync(socket).isSocket()).toBe(true);

    const sidecar = await local(socket, '--workers', workers);
    await served(socket);
    expect(await get(socket)).toBe('200 hello');
    expect(lstatSync(socket).mode & 0o777).toBe(0o600);
    sidecar.child.kill('SIGTERM');
    expect(await sidecar.ended()).toBe(0);
    expect(existsSync(socket)).toBe(false);
  },
);

test('what is in the way is said, and left as it is', async () => {
  const socket = join(processes.folder, 'orders.sock');
  const other = net.createServer((one) => one.end());
  await listen(other, { path: socket });
  const second = await local(socket);
  expect(await second.ended()).toBe(69);
  expect(second.err).toContain(`local:orders socket ${socket} is in use by another process; stop that one`);
  expect(lstatSync(socket).isSocket()).toBe(true);

  const file = join(processes.folder, 'file');
  writeFileSync(file, 'mine');
  const third = await local(file);
  expect(await third.ended()).toBe(69);
  expect(third.err).toContain('is a file that is no socket; remove it');

  const fourth = await local(join(processes.folder, 'nowhere', 'orders.sock'));
  expect(await fourth.ended()).toBe(69);
  expect(fourth.err).toContain('cannot be made (ENOENT:');
});

test.each([
  ['orders=unix:orders.sock', 'orders.sock is no absolute path; write unix:/run/app.sock'],
  [`orders=unix:/${'x'.repeat(94)}`, 'is too long for a socket: at most 94 bytes'],
])('--local %s is refused', async (option, why) => {
  const ended = processes.run(['--snapshot', '/none', '--local', option]);
  expect(await ended.ended()).toBe(64);
  expect(ended.err).toContain(why);
});

test('an opaque Service is spoken to over unix sockets, with half-close', async () => {
  const echo = net.createServer({ allowHalfOpen: true }, (socket) => void socket.pipe(socket));
  await listen(echo, { path: join(processes.folder, 'echo.sock') });
  const app = join(processes.folder, 'echo.sock');
  const ports = [{ port: 80, protocol: Protocol.TCP }];
  const known = resource(ServiceSchema, 'shop/echo', { name: 'shop/echo', ports, identities: [spiffe('echo')] });
  const receiver = await processes.start([
    ...['--snapshot', processes.snapshot([known], spiffe('echo')), '--app', `echo=unix:${app}`],
    ...(await identityOf('echo')),
  ]);
  const far = resource(EndpointSchema, 'shop/echo/one', {
    service: 'shop/echo',
    address: '127.0.0.1',
    ports: { 80: receiver.ports.inbound as number },
    spiffeId: spiffe('echo'),
  });
  const path = join(processes.folder, 'local.sock');
  await processes.start([
    ...['--snapshot', processes.snapshot([known, far], spiffe('web')), '--local', `echo=unix:${path}`],
    ...(await identityOf('web')),
  ]);
  const client = net.connect({ path, allowHalfOpen: true });
  client.end('round');
  expect(await text(client)).toBe('round');
});
