// Opaque bytes through a real worker, over each way in: CONNECT in both versions of HTTP, and a Service's local port.
// Either side may speak first, end first, or vanish; and what an upgrade opened obeys the Route's idle timeout.
import { once } from 'node:events';
import http2 from 'node:http2';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { describe, expect, test } from 'vitest';
import { Protocol, TlsMode } from '../../proto/gen/weft/policy/v1/service_pb.js';
import { useApps, useWorkerRig } from '../support/use.ts';
import { endpoint, logged, route, service, until } from '../support/worker-rig.ts';

const MEBIBYTE = 1024 * 1024;

const rig = useWorkerRig();
const apps = useApps();

const OPAQUE = service('shop/orders', { ports: [{ port: 80, tls: TlsMode.OFF, protocol: Protocol.TCP }] });

/** A raw connection on which `head` was sent and the answer's head read. */
async function opened(head: string): Promise<Socket> {
  const socket = await apps.connect(rig.port);
  socket.write(head);
  let answer = Buffer.alloc(0);
  while (!answer.includes('\r\n\r\n')) {
    const [chunk] = (await once(socket, 'data')) as [Buffer];
    answer = Buffer.concat([answer, chunk]);
  }
  socket.pause();
  expect(answer.toString()).toMatch(/^HTTP\/1\.1 (200|101) /);
  const rest = answer.subarray(answer.indexOf('\r\n\r\n') + 4);
  if (rest.length > 0) socket.unshift(rest);
  return socket;
}

const WAYS: [string, () => Promise<Duplex>][] = [
  ['CONNECT in HTTP/1.1', () => opened('CONNECT orders:80 HTTP/1.1\r\nhost: orders:80\r\n\r\n')],
  [
    'CONNECT in HTTP/2',
    async () => {
      const session = http2.connect(`http://127.0.0.1:${rig.port}`);
      apps.onClose(() => session.destroy());
      const stream = session.request({ ':method': 'CONNECT', ':authority': 'orders:80' }, { endStream: false });
      stream.on('error', () => {});
      const [headers] = (await once(stream, 'response')) as [http2.IncomingHttpHeaders];
      expect(headers[':status']).toBe(200);
      return stream;
    },
  ],
  ['the local port', () => apps.connect(rig.localPort)],
];

/** What came so far; whether a clean end did; whether there is nothing more to come, however it ended. */
function heard(from: Duplex): { text: string; ended: boolean; over: boolean } {
  const state = { text: '', ended: false, over: false };
  from.on('data', (chunk: Buffer) => {
    state.text += chunk.toString('latin1');
  });
  from.once('end', () => {
    state.ended = true;
    state.over = true;
  });
  from.once('close', () => {
    state.over = true;
  });
  from.on('error', () => {});
  from.resume();
  return state;
}

describe.each(WAYS)('over %s', (_way, open) => {
  /** The way in, and the application's side of what it leads to. */
  async function connected(greeting = ''): Promise<{ client: Duplex; server: Socket }> {
    const accepted: Socket[] = [];
    const port = await apps.tcp((socket) => {
      accepted.push(socket);
      if (greeting !== '') socket.write(greeting);
    });
    await rig.apply(OPAQUE, endpoint('shop/orders', port));
    const client = await open();
    await until('the application is connected', () => accepted.length === 1);
    return { client, server: accepted[0] as Socket };
  }

  /** The same, with both ends listened to. */
  async function listening() {
    const { client, server } = await connected();
    return { client, server, atClient: heard(client), atServer: heard(server) };
  }

  test('the server may speak first, before the client says anything', async () => {
    const { client, server } = await connected('220 ready\r\n');
    const atClient = heard(client);
    await until('the greeting arrives', () => atClient.text === '220 ready\r\n');
    const atServer = heard(server);
    client.write('HELO');
    await until('the answer arrives', () => atServer.text === 'HELO');
  });

  test('the client may end first and still hears all of the answer', async () => {
    const { client, server, atClient, atServer } = await listening();
    client.end('question');
    await until('the end arrives', () => atServer.ended);
    expect(atServer.text).toBe('question');
    server.write('first half, ');
    await until('a part arrives', () => atClient.text === 'first half, ');
    server.end('second half');
    await until('all of it arrives', () => atClient.ended);
    expect(atClient.text).toBe('first half, second half');
  });

  test('the server may end first and still hears all that the client says', async () => {
    const { client, server, atClient, atServer } = await listening();
    server.end('bye');
    await until('the end arrives', () => atClient.ended);
    expect(atClient.text).toBe('bye');
    client.write('one, ');
    await until('a part arrives', () => atServer.text === 'one, ');
    client.end('two');
    await until('all of it arrives', () => atServer.ended);
    expect(atServer.text).toBe('one, two');
  });

  test('8 MiB pass both ways at once, unchanged', async () => {
    const { client, server } = await connected();
    const body = Buffer.alloc(8 * MEBIBYTE, 'weft-');
    const [atClient, atServer] = [heard(client), heard(server)];
    client.end(body);
    server.end(body);
    await until('both ends arrive', () => atClient.ended && atServer.ended);
    const text = body.toString('latin1');
    expect([atClient.text === text, atServer.text === text]).toEqual([true, true]);
  });

  test('a client that vanishes takes the server’s side along', async () => {
    const { client, server } = await connected();
    const atServer = heard(server);
    client.destroy();
    await until('it is closed', () => atServer.over);
  });

  test('a server that vanishes takes the client’s side along', async () => {
    const { client, server, atClient, atServer } = await listening();
    // Before its first byte it would be an endpoint that was never reached, and another attempt would follow.
    client.write('hello');
    await until('they speak', () => atServer.text === 'hello');
    server.resetAndDestroy();
    await until('it is closed', () => atClient.over);
  });

  test('a client that has nothing to say and ends at once is heard to end', async () => {
    const accepted: ReturnType<typeof heard>[] = [];
    const port = await apps.tcp((socket) => {
      accepted.push(heard(socket));
      socket.end('nothing for nothing');
    });
    await rig.apply(OPAQUE, endpoint('shop/orders', port));
    const client = await open();
    client.end();
    const atClient = heard(client);
    await until('both ends arrive', () => atClient.ended && accepted[0]?.ended === true);
    expect(atClient.text).toBe('nothing for nothing');
  });

  test('it is logged and counted once, at its end, with its bytes', async () => {
    await rig.apply(logged());
    const { client, server } = await connected();
    const atClient = heard(client);
    heard(server);
    client.end('12345');
    server.end('123');
    await until('it ends', () => atClient.ended);
    await until('it is logged', () => rig.records.length === 1);
    expect(rig.records[0]).toMatchObject({
      method: 'CONNECT',
      service: 'shop/orders',
      requestBytes: 5,
      responseBytes: 3,
    });
    expect(rig.count('active', 'outbound')).toBe(0);
  });
});

test('an endpoint that refuses costs no connection, as long as another takes it', async () => {
  const port = await apps.tcp((socket) => void socket.write('live'));
  await rig.apply(OPAQUE, endpoint('shop/orders', 1), endpoint('shop/orders', port));
  for (let i = 0; i < 8; i++) {
    const client = await apps.connect(rig.localPort);
    const atClient = heard(client);
    await until('the live one answers', () => atClient.text === 'live');
    client.destroy();
  }
  await until('counted', () => rig.count('connectFailures', 'shop/orders') > 0);
});

test('it is ended when nothing moves for the idle time of its port, and metric and log say why', async () => {
  const idleTimeout = { nanos: 100_000_000 };
  const ports = [{ port: 80, tls: TlsMode.OFF, protocol: Protocol.TCP, idleTimeout }];
  const port = await apps.tcp((socket) => void socket.write('220 ready'));
  await rig.apply(service('shop/orders', { ports }), endpoint('shop/orders', port), logged());
  const atClient = heard(await apps.connect(rig.localPort));
  await until('it is closed', () => atClient.over);
  await until('it is logged', () => rig.records.length === 1);
  expect(atClient.text).toBe('220 ready');
  const detail = 'no byte moved for 100 ms (idle_timeout of the port)';
  expect(rig.records[0]).toMatchObject({ flag: 'SI', route: '(tcp)', detail });
  await until('it is counted', () => rig.count('requests', 'outbound', 'shop/orders', '(tcp)', '200', '', 'SI') === 1);
});

test('without an endpoint the connection is closed, and the log says why', async () => {
  await rig.apply(OPAQUE, logged());
  const atClient = heard(await apps.connect(rig.localPort));
  await until('it is closed', () => atClient.over);
  await until('it is logged', () => rig.records.length === 1);
  expect(rig.records[0]).toMatchObject({ flag: 'UH', detail: 'the Service has no endpoints' });
});

describe('an upgraded connection, by itself and within CONNECT,', () => {
  const UPGRADE = 'GET /ws HTTP/1.1\r\nhost: orders\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n';
  const DIRECT = () => opened(UPGRADE);
  const WITHIN = async (): Promise<Socket> => {
    const socket = await opened('CONNECT orders:80 HTTP/1.1\r\nhost: orders:80\r\n\r\n');
    socket.write(UPGRADE);
    let answer = '';
    while (!answer.includes('\r\n\r\n')) answer += ((await once(socket.resume(), 'data')) as [Buffer])[0];
    expect(answer).toMatch(/^HTTP\/1\.1 101 /);
    return socket;
  };

  /** An application that upgrades whatever it is asked. */
  async function upgrading(idleMs: number): Promise<Socket[]> {
    const upgraded: Socket[] = [];
    const port = await apps.tcp((socket) => {
      socket.once('data', () => {
        socket.write('HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n');
        upgraded.push(socket);
      });
    });
    const rules = [{ name: 'ws', timeouts: { idle: { nanos: idleMs * 1_000_000 } } }];
    await rig.apply(
      service('shop/orders'),
      endpoint('shop/orders', port),
      route('shop/ws', { services: ['shop/orders'], rules }),
      logged(),
    );
    return upgraded;
  }

  test.each([
    ['direct', DIRECT],
    ['within CONNECT', WITHIN],
  ])('is ended when nothing moves for the idle time (%s)', async (_how, open) => {
    const upgraded = await upgrading(100);
    const atClient = heard(await open());
    const atServer = heard(upgraded[0] as Socket);
    await until('both sides are closed', () => atClient.over && atServer.over);
    await until('it is logged', () => rig.records.length === 1);
    expect(rig.records[0]).toMatchObject({ status: 101, flag: 'SI', route: 'shop/ws#ws' });
  });

  test('goes on while one side speaks, if only now and then', async () => {
    const upgraded = await upgrading(400);
    const client = await DIRECT();
    const atClient = heard(client);
    for (let i = 0; i < 24; i++) {
      await new Promise((resolve) => setTimeout(resolve, 50));
      upgraded[0]?.write('x');
    }
    await until('all of it arrived', () => atClient.text.length === 24);
    client.destroy();
  });
});
