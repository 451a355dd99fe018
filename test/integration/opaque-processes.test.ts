// Opaque TCP between two sidecars in processes of their own, over mutual TLS: protocols in which the server speaks first, and
// connections that each side ends in its own time.
import type { Socket } from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { EndpointSchema, ServiceSchema } from '../../proto/gen/weft/mesh/v1/resources_pb.js';
import { Protocol } from '../../proto/gen/weft/policy/v1/service_pb.js';
import { Apps } from '../support/apps.ts';
import { type TestAuthority, testAuthority } from '../support/identities.ts';
import { SidecarProcesses } from '../support/sidecar-process.ts';
import { identityOptions } from '../support/use.ts';
import { resource, until } from '../support/worker-rig.ts';

const spiffe = (account: string): string => `spiffe://mesh.local/ns/shop/sa/${account}`;

let apps: Apps;
let authority: TestAuthority;
let processes: SidecarProcesses;
let localPort: number;
let outboundPort: number;
/** What the next connection to the application does. */
let serve: (socket: Socket) => void;

async function identityOf(account: string): Promise<string[]> {
  return identityOptions(processes.folder, account, await authority.issue(account));
}

beforeAll(async () => {
  apps = new Apps();
  authority = await testAuthority();
  processes = new SidecarProcesses();
  const app = await apps.tcp((socket) => serve(socket));
  const mail = resource(ServiceSchema, 'shop/mail', {
    name: 'shop/mail',
    ports: [{ port: 25, protocol: Protocol.TCP }],
    identities: [spiffe('mail')],
  });
  const snapshot = processes.snapshot([mail], spiffe('mail'));
  const receiver = await processes.start([
    '--snapshot',
    snapshot,
    '--app',
    `mail=${app}`,
    ...(await identityOf('mail')),
  ]);
  const there = resource(EndpointSchema, 'shop/mail/one', {
    service: 'shop/mail',
    address: '127.0.0.1',
    ports: { 25: receiver.ports.inbound as number },
    spiffeId: spiffe('mail'),
  });
  const known = processes.snapshot([mail, there], spiffe('web'));
  const web = await processes.start(['--snapshot', known, '--local', 'mail=0', ...(await identityOf('web'))]);
  localPort = web.ports['local:mail'] as number;
  outboundPort = web.ports.outbound as number;
});
afterAll(async () => {
  await processes.close();
  authority.close();
  apps.close();
});

/** All that came so far, and whether the end did. */
function heard(socket: Socket): { text: string; ended: boolean } {
  const state = { text: '', ended: false };
  socket.on('data', (data: Buffer) => {
    state.text += data.toString('latin1');
  });
  socket.once('end', () => {
    state.ended = true;
  });
  return state;
}

/** Over CONNECT: the tunnel once it is open. */
async function tunnel(): Promise<Socket> {
  const socket = await apps.connect(outboundPort);
  socket.write('CONNECT mail:25 HTTP/1.1\r\nhost: mail:25\r\n\r\n');
  let head = '';
  while (!head.includes('\r\n\r\n')) {
    await new Promise<void>((resolve) => void socket.once('readable', resolve));
    // One byte at a time: what the server says first stays where it is.
    for (let byte: Buffer | null = socket.read(1); byte !== null; byte = socket.read(1)) {
      head += byte.toString('latin1');
      if (head.endsWith('\r\n\r\n')) break;
    }
  }
  expect(head).toMatch(/^HTTP\/1\.1 200 /);
  return socket;
}

test.each([
  ['the local port', () => apps.connect(localPort)],
  ['CONNECT', tunnel],
])('over %s a mail server greets before it is spoken to, and the talk goes on', async (_way, open) => {
  let atServer = { text: '', ended: false };
  serve = (socket) => {
    atServer = heard(socket);
    socket.write('220 mail ready\r\n');
    let line = '';
    socket.on('data', (data: Buffer) => {
      line += data.toString('latin1');
      if (line.endsWith('HELO web\r\n')) socket.write('250 hello\r\n');
      if (line.endsWith('QUIT\r\n')) socket.end('221 bye\r\n');
    });
  };
  const client = await open();
  const atClient = heard(client);
  await until('it is greeted', () => atClient.text === '220 mail ready\r\n');
  client.write('HELO web\r\n');
  await until('it is answered', () => atClient.text.endsWith('250 hello\r\n'));
  client.write('QUIT\r\n');
  await until('the server has ended its side', () => atClient.ended);
  expect(atClient.text).toBe('220 mail ready\r\n250 hello\r\n221 bye\r\n');
  expect(atServer.ended).toBe(false);
  client.end('after the end');
  await until('the client has ended, too', () => atServer.ended);
  expect(atServer.text).toBe('HELO web\r\nQUIT\r\nafter the end');
});

test('the client may end first, and hears all that the server says after', async () => {
  let server: Socket | undefined;
  let atServer = { text: '', ended: false };
  serve = (socket) => {
    server = socket;
    atServer = heard(socket);
  };
  const client = await apps.connect(localPort);
  const atClient = heard(client);
  client.end('all of it');
  await until('the end arrives', () => atServer.ended);
  expect(atServer.text).toBe('all of it');
  const answer = 'x'.repeat(2_000_000);
  server?.end(answer);
  await until('all of the answer arrives', () => atClient.ended);
  expect(atClient.text === answer).toBe(true);
});

test('a server that greets and ends at once is heard whole', async () => {
  serve = (socket) => void socket.resume().end('421 busy\r\n');
  const client = await apps.connect(localPort);
  const atClient = heard(client);
  await until('it is over', () => atClient.ended);
  expect(atClient.text).toBe('421 busy\r\n');
  client.end();
});
