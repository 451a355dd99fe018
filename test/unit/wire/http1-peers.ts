// Peers for tests of the HTTP/1.1 codec: a server and a client connection of ours, raw sockets to face them, and a
// recorder of what a stream's owner hears. Everything opened is closed after each test.

import { once } from 'node:events';
import type { AddressInfo, Socket } from 'node:net';
import net from 'node:net';
import { afterEach } from 'vitest';
import type { ProxyError } from '../../../sidecar/wire/error.ts';
import { Http1ClientConnection } from '../../../sidecar/wire/http1/client.ts';
import type { Http1ServerConnection } from '../../../sidecar/wire/http1/server.ts';
import { serveHttp1 } from '../../../sidecar/wire/http1/server.ts';
import { WireSocket } from '../../../sidecar/wire/socket.ts';
import type { HttpStream, StreamEvents } from '../../../sidecar/wire/stream.ts';
import { Head } from '../../../sidecar/wire/stream.ts';

const open = new Set<Socket>();
const servers = new Set<net.Server>();

afterEach(async () => {
  for (const socket of open) socket.destroy();
  for (const server of servers) await new Promise((done) => server.close(done));
  open.clear();
  servers.clear();
});

export async function listen(onSocket: (socket: Socket) => void): Promise<number> {
  const server = net.createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => {});
    open.add(socket);
    onSocket(socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  servers.add(server);
  return (server.address() as AddressInfo).port;
}

export async function dial(port: number): Promise<Socket> {
  const socket = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  socket.on('error', () => {});
  await once(socket, 'connect');
  open.add(socket);
  return socket;
}

/** Records events as text; `act` may answer. */
export class Recorder implements StreamEvents {
  readonly said: string[] = [];
  error: ProxyError | null = null;
  readonly over: Promise<void>;
  private finish: () => void = () => {};
  private readonly act: (event: string) => void;

  constructor(act: (event: string) => void = () => {}) {
    this.act = act;
    this.over = new Promise((done) => {
      this.finish = done;
    });
  }

  onHead(head: Head, end: boolean): void {
    this.say(head.status === 0 ? `${head.method} ${head.path} ${head.authority}` : `${head.status}`, end);
  }

  onData(chunk: Uint8Array, end: boolean): void {
    this.say(`data ${Buffer.from(chunk).toString('latin1')}`, end);
  }

  onEnd(trailers: string[] | null): void {
    this.say(trailers === null ? 'end' : `trailers ${trailers.join('=')}`, true);
  }

  onDrain(): void {}

  onReset(error: ProxyError): void {
    this.error = error;
    this.say(`reset ${error.kind} ${error.retry}`, true);
  }

  private say(text: string, end: boolean): void {
    this.said.push(text);
    this.act(text);
    if (end) this.finish();
  }
}

export interface Served {
  port: number;
  said: string[];
  malformed: string[];
  connections: Http1ServerConnection[];
}

export async function serve(
  answer: (stream: HttpStream, event: string) => void,
  options: Partial<Parameters<typeof serveHttp1>[2]> = {},
): Promise<Served> {
  const served: Served = { port: 0, said: [], malformed: [], connections: [] };
  served.port = await listen((socket) => {
    const accept = (stream: HttpStream): StreamEvents =>
      new Recorder((event) => {
        served.said.push(event);
        answer(stream, event);
      });
    const onMalformed = (reason: string): void => {
      served.malformed.push(reason);
    };
    served.connections.push(
      serveHttp1(new WireSocket(socket), accept, { scheme: 'http', onMalformed, onClose() {}, ...options }),
    );
  });
  return served;
}

/** Sends bytes and reads until the text ends with `until`, or the server ends. */
export async function exchange(port: number, bytes: string, until: string | null): Promise<string> {
  const socket = await dial(port);
  socket.write(bytes, 'latin1');
  let text = '';
  for await (const chunk of socket) {
    text += (chunk as Buffer).toString('latin1');
    if (until !== null && text.endsWith(until)) break;
  }
  socket.destroy();
  return text;
}

export interface Dialled {
  connection: Http1ClientConnection;
  closed: Promise<void>;
  idled: () => number;
}

export async function connect(port: number): Promise<Dialled> {
  const closed = Promise.withResolvers<void>();
  let idled = 0;
  const connection = new Http1ClientConnection(new WireSocket(await dial(port)), {
    onClose: closed.resolve,
    onIdle: () => {
      idled++;
    },
  });
  return { connection, closed: closed.promise, idled: () => idled };
}

export function get(): Head {
  return Head.request('GET', 'http', 'a', '/', []);
}
