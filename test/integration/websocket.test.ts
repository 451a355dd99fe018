// WebSocket (RFC 6455) through one sidecar and through two with a client library of the field: over HTTP/1.1 Upgrade and
// HTTP/2 extended CONNECT (RFC 8441) on either side, where only bytes pass and what the two ends agreed on holds.

import { once } from 'node:events';
import http from 'node:http';
import http2 from 'node:http2';
import type { Duplex } from 'node:stream';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import WebSocket, { WebSocketServer } from 'ws';
import { Protocol } from '../../proto/gen/weft/policy/v1/service_pb.js';
import { Apps } from '../support/apps.ts';
import { type HopCount, type Hops, startHops } from '../support/hops.ts';
import { until } from '../support/worker-rig.ts';

type Version = 'HTTP/1.1' | 'HTTP/2';

const MIB = 1024 * 1024;

/** What `ws` has and does not declare: a WebSocket on a stream whose handshake somebody else made. */
interface OnStream {
  _isServer: boolean;
  setSocket(stream: Duplex, head: Buffer, options: object): void;
}

/** The RFC's frames on a stream that extended CONNECT opened. */
function onStream(stream: Duplex, isServer: boolean): WebSocket {
  // A server of `ws` sets these; nothing else gives them a default.
  const options = { autoPong: true, closeTimeout: 30_000 };
  const socket = new WebSocket(null as unknown as string, undefined as unknown as string[], options);
  const inner = socket as unknown as OnStream;
  inner._isServer = isServer;
  inner.setSocket(stream, Buffer.alloc(0), { maxPayload: 0, skipUTF8Validation: false });
  return socket;
}

/** Sends each message back; `close` makes it say goodbye. */
function serve(socket: WebSocket): void {
  socket.on('message', (data, isBinary) => {
    if (!isBinary && String(data) === 'close') socket.close(4002, 'said the server');
    else socket.send(data, { binary: isBinary });
  });
  socket.on('error', () => {});
}

interface Application {
  readonly port: number;
  /** Close codes and reasons as the server saw them. */
  readonly closes: string[];
  /** The extension that each connection agreed on. */
  readonly extensions: string[];
}

async function application(apps: Apps, version: Version): Promise<Application> {
  const seen = { closes: [] as string[], extensions: [] as string[] };
  const onOpen = (socket: WebSocket): void => {
    seen.extensions.push(socket.extensions);
    socket.on('close', (code, reason) => seen.closes.push(`${code} ${reason}`));
    serve(socket);
  };
  if (version === 'HTTP/1.1') {
    const server = new WebSocketServer({ noServer: true, perMessageDeflate: { threshold: 0 } });
    const httpServer = http.createServer((_, response) => response.end('plain'));
    httpServer.on('upgrade', (request, socket, head) => server.handleUpgrade(request, socket, head, onOpen));
    return { port: await apps.listen(httpServer), ...seen };
  }
  const port = await apps.http2(
    (stream, headers) => {
      if (headers[':protocol'] !== 'websocket') return void stream.respond({ ':status': 200 }, { endStream: true });
      stream.respond({ ':status': 200 });
      onOpen(onStream(stream, true));
    },
    { settings: { enableConnectProtocol: true } },
  );
  return { port, ...seen };
}

const ended: (() => void)[] = [];
afterEach(() => {
  for (const end of ended.splice(0)) end();
});

/** An open WebSocket to the application at a sidecar's port. */
async function open(version: Version, port: number): Promise<WebSocket> {
  if (version === 'HTTP/1.1') {
    const socket = new WebSocket(`ws://127.0.0.1:${port}/chat`, { perMessageDeflate: { threshold: 0 } });
    ended.push(() => socket.terminate());
    await once(socket, 'open');
    return socket;
  }
  const session = http2.connect(`http://127.0.0.1:${port}`);
  ended.push(() => session.destroy());
  await once(session, 'remoteSettings');
  const stream = session.request(
    { ':method': 'CONNECT', ':protocol': 'websocket', ':path': '/chat', 'sec-websocket-version': '13' },
    { endStream: false },
  );
  const [headers] = (await once(stream, 'response')) as [http2.IncomingHttpHeaders & { ':status': number }];
  expect(headers[':status']).toBe(200);
  return onStream(stream, false);
}

/** The next message, as bytes. */
async function next(socket: WebSocket): Promise<{ data: Buffer; isBinary: boolean }> {
  const [data, isBinary] = (await once(socket, 'message')) as [Buffer, boolean];
  return { data, isBinary };
}

describe.each<[HopCount, Version]>([
  [1, 'HTTP/1.1'],
  [1, 'HTTP/2'],
  [2, 'HTTP/1.1'],
  [2, 'HTTP/2'],
])('with sidecars in between: %i, to an application that speaks %s', (count, spoken) => {
  const apps = new Apps();
  let app: Application;
  let hops: Hops;
  beforeAll(async () => {
    app = await application(apps, spoken);
    hops = await startHops(count, app.port, spoken === 'HTTP/2' ? Protocol.HTTP2 : Protocol.HTTP1);
  });
  afterAll(async () => {
    await hops.close();
    apps.close();
  });

  describe.each<Version>(['HTTP/1.1', 'HTTP/2'])('from a client that speaks %s', (version) => {
    test('messages of 1 MiB and of nothing pass both ways', async () => {
      const socket = await open(version, hops.port);
      for (const message of [Buffer.alloc(MIB, 'weft '), Buffer.alloc(0), Buffer.from([0, 1, 255])]) {
        socket.send(message);
        const { data, isBinary } = await next(socket);
        expect([data.equals(message), isBinary]).toEqual([true, true]);
      }
      socket.send('½ and text');
      expect(String((await next(socket)).data)).toBe('½ and text');
    });

    test('a message in fragments with a ping between them arrives whole', async () => {
      const socket = await open(version, hops.port);
      const pong = once(socket, 'pong');
      socket.send('one ', { fin: false });
      socket.ping('still there?');
      socket.send('two ', { fin: false });
      socket.send('three', { fin: true });
      expect(String((await next(socket)).data)).toBe('one two three');
      expect(String((await pong)[0])).toBe('still there?');
    });

    test('a hundred messages keep their order', async () => {
      const socket = await open(version, hops.port);
      const got: string[] = [];
      const all = new Promise<void>((resolve) => {
        socket.on('message', (data) => {
          if (got.push(String(data)) === 100) resolve();
        });
      });
      for (let i = 0; i < 100; i++) socket.send(`message ${i}`);
      await all;
      expect(got).toEqual(Array.from({ length: 100 }, (_, i) => `message ${i}`));
    });

    test('close codes and reasons pass both ways', async () => {
      const first = await open(version, hops.port);
      const reason = `said the client over ${version}`;
      first.close(4001, reason);
      expect((await once(first, 'close'))[0]).toBe(4001);
      await until('the application hears of it', () => app.closes.includes(`4001 ${reason}`));
      const second = await open(version, hops.port);
      second.send('close');
      const [code, words] = await once(second, 'close');
      expect([code, String(words)]).toEqual([4002, 'said the server']);
    });
  });

  test('compression that client and application agree on passes through', async () => {
    const socket = await open('HTTP/1.1', hops.port);
    // Over HTTP/2 this application offers none, so none is agreed on.
    const expected = spoken === 'HTTP/1.1' ? 'permessage-deflate' : '';
    expect([socket.extensions, app.extensions.at(-1)]).toEqual([expected, expected]);
    const message = 'compress me '.repeat(100_000);
    socket.send(message);
    expect(String((await next(socket)).data)).toBe(message);
  });

  test('ordinary calls go on beside it, and nothing was contained', async () => {
    await open('HTTP/1.1', hops.port);
    const response = await fetch(`http://127.0.0.1:${hops.port}/`);
    expect(response.status).toBe(200);
    await response.text();
    for (const sidecar of hops.sidecars) expect(await sidecar.metric('weft_contained_total')).toBe(0);
  });
});

describe.each<HopCount>([1, 2])('with sidecars in between: %i', (count) => {
  test('an application whose HTTP/2 takes no extended CONNECT is not asked for one: the upgrade is answered 501', async () => {
    const apps = new Apps();
    const asked: (string | undefined)[] = [];
    const port = await apps.http2((stream, headers) => {
      asked.push(headers[':method']);
      stream.respond({ ':status': 200 }, { endStream: true });
    });
    const hops = await startHops(count, port, Protocol.HTTP2);
    try {
      const socket = new WebSocket(`ws://127.0.0.1:${hops.port}/chat`);
      const [error] = (await once(socket, 'error')) as [Error];
      expect(error.message).toBe('Unexpected server response: 501');
      expect((await fetch(`http://127.0.0.1:${hops.port}/`)).status).toBe(200);
      expect(asked).toEqual(['GET']);
    } finally {
      await hops.close();
      apps.close();
    }
  });
});
