// TLS on a socket that won a race between addresses: the name is verified, bodies pass byte for byte, and the connection
// closes whole, as on a socket that TLS has opened itself.
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import http2 from 'node:http2';
import type { Server, Socket } from 'node:net';
import { pipeline } from 'node:stream';
import { createSecureContext } from 'node:tls';
import { expect, test } from 'vitest';
import { connectorTo, type DialObserver } from '../../sidecar/upstream/connect.ts';
import type { PooledConnection } from '../../sidecar/upstream/pool.ts';
import type { UpstreamSettings } from '../../sidecar/upstream/upstream.ts';
import { OutwardSessions } from '../../sidecar/wire/sessions.ts';
import { Head } from '../../sidecar/wire/stream.ts';
import type { HandshakeFacts } from '../../sidecar/wire/tls.ts';
import { oddIdentity } from '../support/identities.ts';
import { upstreamRig } from '../support/upstream-rig.ts';
import { useApps, useAuthority } from '../support/use.ts';

const authority = useAuthority();
const apps = useApps();

/** Sends back what comes, at 127.0.0.1 and under the names `localhost` and 127.0.0.1; `::1` refuses. */
async function echo(shown?: { key: string; cert: string }): Promise<{ port: number; sockets: Socket[] }> {
  const { keyPem: key, certificatePem: cert } = authority.outside;
  const server = http2.createSecureServer(
    { ...(shown ?? { key, cert }), allowHTTP1: true },
    (request, response) => void pipeline(request, response as never, () => {}),
  ) as unknown as Server;
  const sockets: Socket[] = [];
  server.on('connection', (socket: Socket) => sockets.push(socket));
  return { port: await apps.listen(server), sockets };
}

async function dial(
  port: number,
  protocol: 'http1' | 'http2',
  sessions: OutwardSessions | null = null,
  heard?: DialObserver,
): Promise<{ link: PooledConnection; gone: Promise<unknown> }> {
  const tls = {
    context: createSecureContext({ ca: [...authority.rootsPem] }),
    serverName: 'localhost',
    alpn: protocol === 'http2' ? ('h2' as const) : ('http/1.1' as const),
    verify: null,
    peers: null,
    sessions,
  };
  const address = { host: '::1', alternates: ['127.0.0.1'], port, protocol, tls, connectTimeoutMs: 5000 };
  return new Promise((resolve, reject) => {
    let onGone = (_error: unknown): void => {};
    const gone = new Promise<unknown>((done) => {
      onGone = done;
    });
    const abandon = connectorTo(
      address,
      heard,
    )({
      onReady: (link) => resolve({ link, gone }),
      onRoom() {},
      onGone: (error) => {
        onGone(error);
        reject(error);
      },
    });
    apps.onClose(abandon);
  });
}

/** GET through a pool: the status, or what went wrong. */
async function call(port: number, settings: Partial<UpstreamSettings>): Promise<string> {
  const endpoint = { host: '::1', alternates: ['127.0.0.1'], port };
  const rig = upstreamRig({}, endpoint, { tls: 'simple', ...settings });
  apps.onClose(() => rig.close());
  return String(await rig.call());
}

/** The digest of what comes back, all of it sent as fast as it is taken. */
function echoed(link: PooledConnection, body: Buffer): Promise<string> {
  return new Promise((resolve, reject) => {
    const hash = createHash('sha256');
    let at = 0;
    const push = (): void => {
      while (at < body.length) {
        const chunk = body.subarray(at, at + 50_000);
        at += chunk.length;
        if (stream?.writeData(chunk, at === body.length) === false) return;
      }
    };
    const stream = link.open({
      onHead() {},
      onData: (chunk, end) => {
        hash.update(chunk);
        if (end) resolve(hash.digest('hex'));
      },
      onEnd: () => resolve(hash.digest('hex')),
      onDrain: push,
      onReset: reject,
    });
    stream?.writeHead(Head.request('POST', 'https', 'localhost', '/', ['content-length', String(body.length)]), false);
    push();
  });
}

test.each(['http1', 'http2'] as const)('bodies pass both ways over %s, and both ends close', async (protocol) => {
  const { port, sockets } = await echo();
  const { link, gone } = await dial(port, protocol);
  for (const bytes of [1, 16_384, 65_537, 3_145_728]) {
    const body = randomBytes(bytes);
    expect(await echoed(link, body)).toBe(createHash('sha256').update(body).digest('hex'));
  }
  expect(sockets).toHaveLength(1);
  const closed = once(sockets[0] as Socket, 'close');
  link.close();
  expect(await gone).toBeNull();
  // Without an error: TLS was ended and not cut.
  expect(await closed).toEqual([false]);
});

test.each([
  ['localhost', '200'],
  ['other.example', 'tlsFailed: connection to 127.0.0.1:PORT failed: Hostname/IP does not match'],
])('a raced server is verified by the name "%s"', async (serverName, answer) => {
  const { port } = await echo();
  expect(await call(port, { rootsPem: authority.rootsPem.join(''), serverName })).toContain(
    answer.replace('PORT', String(port)),
  );
});

test.each([
  ['127.0.0.1', '200'],
  [
    '::1',
    "tlsFailed: connection to 127.0.0.1:PORT failed: Hostname/IP does not match certificate's altnames: IP: 127.0.0.1",
  ],
])('without a server name the address that won must be in the certificate: %s is', async (certified, answer) => {
  const { identity, rootPem } = await oddIdentity([], 60_000, { addresses: [certified] });
  const { port } = await echo({ key: identity.privateKeyPem, cert: identity.chainPem });
  expect(await call(port, { rootsPem: rootPem, serverName: '' })).toContain(answer.replace('PORT', String(port)));
});

test('a winner that is silent then is named, and no address is blamed', async () => {
  const port = await apps.tcp(() => {});
  const connectTimeoutMs = 500;
  const answer = await call(port, { connectTimeoutMs });
  expect(answer).toContain(
    `connectTimeout: connection to 127.0.0.1:${port} timed out after ${connectTimeoutMs} ms; is`,
  );
});

test('a session is taken up again on a raced socket, too', async () => {
  const { port } = await echo();
  const sessions = new OutwardSessions();
  const resumed: boolean[] = [];
  const heard = { onMalformed() {}, onGuard() {}, onHandshake: (facts: HandshakeFacts) => resumed.push(facts.resumed) };
  for (let i = 0; i < 2; i++) await echoed((await dial(port, 'http1', sessions, heard)).link, randomBytes(1));
  expect(resumed).toEqual([false, true]);
});

test('a winner that breaks off its handshake is named, and is no refusal', async () => {
  const port = await apps.tcp((socket) => void socket.once('data', () => socket.resetAndDestroy()));
  await expect(dial(port, 'http1')).rejects.toMatchObject({
    kind: 'tlsFailed',
    detail: expect.stringContaining(`connection to 127.0.0.1:${port} failed: `),
  });
});
