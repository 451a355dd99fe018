// The mix that the soak sends for minutes: HTTP/1, HTTP/2, TLS, resets and slow clients at once, which no load tool
// combines. Honest clients count what failed; those that reset or dawdle only count that they did.

import { type ClientHttp2Session, connect as connectHttp2 } from 'node:http2';
import { GRPC_PATH, MIB_PATH } from './backends.ts';
import { type ClientConnection, type ClientTarget, connector, requestText } from './http-client.ts';
import { programParameters } from './load-program.ts';
import { pause } from './processes.ts';
import { CALLS } from './soak-mesh.ts';

/** What the soak tells it. */
export interface SoakLoad {
  readonly outboundPort: number;
  /** Mutual TLS, as `target` says. */
  readonly inbound: ClientTarget;
  readonly seconds: number;
}

/** By kind of client; the answer of this program. */
export type SoakCounts = Record<string, { done: number; failed: number }>;

/** Between the requests of one client: the sidecar is kept busy, not saturated. */
const BREATH_MS = 5;
/** A client that dawdles sends or reads a piece in this time. */
const DAWDLE_MS = 20;
const REQUESTS_PER_CONNECTION = 10;
const STREAMS = 8;

const { outboundPort, inbound, seconds } = programParameters<SoakLoad>();
const clear = connector({ port: outboundPort, sni: null, identity: null });
const secure = connector(inbound);
const endMs = performance.now() + seconds * 1000;
const counts: SoakCounts = {};

/** One turn of each kind of client: its requests' outcomes, on a connection of their own. */
const clients: Readonly<Record<string, { readonly count: number; turn(): Promise<boolean[]> }>> = {
  'HTTP/1.1': { count: 8, turn: () => askSome(clear()) },
  'HTTP/1.1, mutual TLS': { count: 4, turn: () => askSome(secure()) },
  'HTTP/2, gRPC-shaped': { count: 2, turn: () => callSome(clearSession(), CALLS, GRPC_PATH) },
  'HTTP/2, mutual TLS': { count: 2, turn: () => callSome(secureSession(), 'echo', '/bench') },
  'HTTP/1.1 reset in a body': { count: 2, turn: resetConnection },
  'HTTP/2 reset in a body': { count: 2, turn: resetStreams },
  'slow to send': { count: 4, turn: sendSlowly },
  'slow to read': { count: 4, turn: readSlowly },
};

await Promise.all(
  Object.entries(clients).flatMap(([name, { count, turn }]) => Array.from({ length: count }, () => loop(name, turn))),
);
process.stdout.write(`${JSON.stringify(counts)}\n`, () => process.exit());

async function loop(name: string, turn: () => Promise<boolean[]>): Promise<void> {
  const count = counts[name] ?? { done: 0, failed: 0 };
  counts[name] = count;
  while (performance.now() < endMs) {
    for (const ok of await turn()) count[ok ? 'done' : 'failed']++;
    await pause(BREATH_MS);
  }
}

function ask(connection: ClientConnection, path: string): Promise<boolean> {
  return new Promise((resolve) => connection.ask(requestText(path), (status) => resolve(status === 200)));
}

async function askSome(connection: ClientConnection): Promise<boolean[]> {
  const results: boolean[] = [];
  for (let i = 1; i < REQUESTS_PER_CONNECTION; i++) {
    results.push(await ask(connection, '/bench'));
    await pause(BREATH_MS);
  }
  results.push(await ask(connection, MIB_PATH));
  connection.socket.end();
  return results;
}

function clearSession(): ClientHttp2Session {
  return connectHttp2(`http://127.0.0.1:${outboundPort}`).on('error', () => {});
}

function secureSession(): ClientHttp2Session {
  const { port, sni, identity } = inbound;
  const shown = { key: identity?.key, cert: identity?.chain, servername: sni ?? '', rejectUnauthorized: false };
  return connectHttp2(`https://127.0.0.1:${port}`, shown).on('error', () => {});
}

async function callSome(session: ClientHttp2Session, authority: string, path: string): Promise<boolean[]> {
  const results: boolean[] = [];
  for (let i = 0; i < REQUESTS_PER_CONNECTION; i++) {
    results.push(...(await Promise.all(Array.from({ length: STREAMS }, () => call(session, authority, path)))));
    await pause(BREATH_MS);
  }
  session.close();
  return results;
}

function call(session: ClientHttp2Session, authority: string, path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const grpc = path === GRPC_PATH;
    const fields = grpc ? { ':method': 'POST', 'content-type': 'application/grpc', te: 'trailers' } : {};
    const stream = session.request({ ':authority': authority, ':path': path, ...fields }, { endStream: !grpc });
    let status: unknown;
    let ended = !grpc;
    stream.on('response', (head) => (status = head[':status']));
    stream.on('trailers', (trailers) => (ended = trailers['grpc-status'] === '0'));
    stream.on('error', () => {});
    stream.on('close', () => resolve(status === 200 && ended));
    stream.resume();
    if (grpc) stream.end(Buffer.from([0, 0, 0, 0, 0]));
  });
}

function resetConnection(): Promise<boolean[]> {
  const { socket } = clear();
  socket.write(requestText(MIB_PATH));
  return new Promise((resolve) => {
    socket.once('data', () => socket.resetAndDestroy());
    socket.once('close', () => resolve([true]));
  });
}

async function resetStreams(): Promise<boolean[]> {
  const session = clearSession();
  const one = (): Promise<boolean> =>
    new Promise((resolve) => {
      const stream = session.request({ ':authority': 'echo', ':path': MIB_PATH });
      stream.on('error', () => {});
      stream.once('data', () => stream.close(8)); // CANCEL (RFC 9113 §7)
      stream.once('close', () => resolve(true));
    });
  const results = await Promise.all(Array.from({ length: STREAMS }, one));
  session.close();
  return results;
}

/** Every second one leaves before its head is whole. */
async function sendSlowly(): Promise<boolean[]> {
  const connection = clear();
  const text = requestText('/bench');
  const leaves = Math.random() < 0.5;
  for (let at = 0; at < text.length - 8; at += 4) {
    connection.socket.write(text.slice(at, at + 4));
    await pause(DAWDLE_MS);
  }
  const rest = text.slice(Math.ceil((text.length - 8) / 4) * 4);
  if (!leaves) await new Promise((resolve) => connection.ask(rest, resolve));
  connection.socket.destroy();
  return [true];
}

/** Takes a piece now and then, and goes before it has all. */
async function readSlowly(): Promise<boolean[]> {
  const { socket } = clear();
  socket.removeAllListeners('data');
  socket.pause();
  socket.write(requestText(MIB_PATH));
  for (let piece = 0; piece < 20; piece++) {
    await pause(DAWDLE_MS);
    socket.read(16_384);
  }
  socket.destroy();
  return [true];
}
