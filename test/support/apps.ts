// Applications behind a sidecar, as tests need them: plain Node servers on free loopback ports that know nothing of Weft.

import { once } from 'node:events';
import http from 'node:http';
import http2 from 'node:http2';
import net, { type AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';

/** Everything one test opened; `close` ends all of it. */
export class Apps {
  private readonly cleanups: (() => void)[] = [];

  /** What else is to be ended with them. */
  onClose(cleanup: () => void): void {
    this.cleanups.push(cleanup);
  }

  /** An HTTP/1.1 application; resolves with its port. */
  async http(handle: http.RequestListener): Promise<number> {
    return this.listen(http.createServer(handle));
  }

  /** An application made elsewhere; resolves with its port. */
  async listen(server: net.Server): Promise<number> {
    const sockets = new Set<net.Socket>();
    server.on('connection', (socket) => {
      sockets.add(socket);
      socket.once('close', () => sockets.delete(socket));
    });
    this.onClose(() => {
      server.close();
      for (const socket of sockets) socket.destroy();
    });
    return listening(server);
  }

  /** An HTTP/2 application in the clear; resolves with its port. */
  async http2(
    handle: (stream: http2.ServerHttp2Stream, headers: http2.IncomingHttpHeaders) => void,
    options: http2.ServerOptions = {},
  ): Promise<number> {
    const sessions = new Set<http2.ServerHttp2Session>();
    const server = http2.createServer(options);
    server.on('session', (session) => {
      sessions.add(session);
      session.once('close', () => sessions.delete(session));
    });
    server.on('stream', handle);
    this.onClose(() => {
      server.close();
      for (const session of sessions) session.destroy();
    });
    return listening(server);
  }

  /** A TCP application in which each side may end first. */
  async tcp(handle: (socket: net.Socket) => void): Promise<number> {
    const sockets = new Set<net.Socket>();
    const server = net.createServer({ allowHalfOpen: true }, (socket) => {
      sockets.add(socket);
      socket.on('error', () => {});
      socket.once('close', () => sockets.delete(socket));
      handle(socket);
    });
    this.onClose(() => {
      server.close();
      for (const socket of sockets) socket.destroy();
    });
    return listening(server);
  }

  /** A connection to `port` of which each side may end first. */
  async connect(port: number): Promise<net.Socket> {
    const socket = net.connect({ host: '127.0.0.1', port, allowHalfOpen: true });
    this.onClose(() => void socket.destroy());
    await once(socket, 'connect');
    socket.on('error', () => {});
    return socket;
  }

  close(): void {
    for (const cleanup of this.cleanups.splice(0).reverse()) cleanup();
  }
}

async function listening(server: net.Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

/** What a call through a sidecar came to. */
export interface Answer {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: string;
}

/** One call on a connection of its own, unless `options` bring an agent; rejects when it breaks off. */
export async function callHttp(
  port: number,
  host: string,
  options: http.RequestOptions = {},
  body?: string,
): Promise<Answer> {
  const request = http.request({ host: '127.0.0.1', port, agent: false, ...options });
  request.setHeader('host', host);
  request.end(body);
  const [response] = (await once(request, 'response')) as [http.IncomingMessage];
  return { status: response.statusCode ?? 0, headers: response.headers, body: await text(response) };
}
