// The small HTTP servers off the data path: admin, metrics, readiness. Each is a table of paths; what it does not know
// is 404, and another method than the table's is 405.

import type { IncomingMessage, Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { isLocalName } from '../base/local-name.ts';
import { portError } from '../workers/ports.ts';

// An import of node:http makes the names of its exports, and with them compiles an HTTP client of 7 MB.
const { createServer } = process.getBuiltinModule('node:http');

/** What a handler answers. A body that is not text is sent as JSON. */
export interface Reply {
  readonly status: number;
  readonly body: unknown;
  /** Default: JSON, or text for a string body. */
  readonly type?: string;
}

/** A request as handlers see it. */
export interface Asked {
  readonly query: URLSearchParams;
  /** Up to {@link BODY_BYTES_MAX} bytes. */
  readonly body: string;
}

/** By `METHOD /path`. A handler may throw: 500 without the reason, which goes to the log. */
export type Table = Readonly<Record<string, (asked: Asked) => Reply | Promise<Reply>>>;

/** A log level is all that is ever sent. */
const BODY_BYTES_MAX = 1_024;

/** A scraper and a curious operator; more is a flood. */
const CONNECTIONS_MAX = 64;

export interface SmallServer {
  readonly port: number;
  close(): Promise<void>;
}

export interface SmallServerOptions {
  /** `admin`, `metrics`, `readiness`: for errors. */
  readonly name: string;
  readonly host: string;
  readonly port: number;
  /** Refuse requests under any name but loopback ones and addresses, so that a page in a browser cannot reach it by DNS rebinding. */
  readonly loopbackNamesOnly: boolean;
  readonly onError: (error: Error) => void;
}

/** Binds and serves. Throws StartError (69) when the address is not free. */
export function serveTable(options: SmallServerOptions, table: Table): Promise<SmallServer> {
  const server = createServer({ requestTimeout: 10_000, headersTimeout: 5_000 }, (request, response) => {
    answer(options, table, request)
      .catch((error: Error): Reply => {
        options.onError(error);
        return { status: 500, body: { error: 'internal error; the log says why' } };
      })
      .then(({ status, body, type }) => {
        const text = typeof body === 'string' ? body : `${JSON.stringify(body)}\n`;
        const contentType = type ?? (typeof body === 'string' ? 'text/plain; charset=utf-8' : 'application/json');
        response.writeHead(status, {
          'content-type': contentType,
          'content-length': Buffer.byteLength(text),
          'cache-control': 'no-store',
          'x-content-type-options': 'nosniff',
        });
        response.end(request.method === 'HEAD' ? undefined : text);
      });
  });
  server.maxConnections = CONNECTIONS_MAX;
  return listen(server, options);
}

function listen(server: Server, { name, host, port }: SmallServerOptions): Promise<SmallServer> {
  return new Promise((resolve, reject) => {
    server.once('error', (error) => reject(portError(name, host, port, error)));
    server.listen({ host, port, exclusive: true }, () => {
      server.removeAllListeners('error');
      server.on('error', () => {});
      resolve({
        port: (server.address() as AddressInfo).port,
        close: () =>
          new Promise((done) => {
            server.close(() => done());
            server.closeAllConnections();
          }),
      });
    });
  });
}

async function answer(options: SmallServerOptions, table: Table, request: IncomingMessage): Promise<Reply> {
  if (options.loopbackNamesOnly && !isLocalName(request.headers.host ?? '')) {
    return { status: 421, body: { error: 'this host name is not served here; use 127.0.0.1, [::1] or localhost' } };
  }
  const url = new URL(request.url ?? '/', 'http://local');
  const method = request.method === 'HEAD' ? 'GET' : request.method;
  const handler = table[`${method} ${url.pathname}`];
  if (handler !== undefined) return handler({ query: url.searchParams, body: await readBody(request) });
  const other = Object.keys(table).some((key) => key.endsWith(` ${url.pathname}`));
  if (other) return { status: 405, body: { error: `${request.method} is not allowed on ${url.pathname}` } };
  return { status: 404, body: { error: `nothing at ${url.pathname}; / lists what there is` } };
}

async function readBody(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > BODY_BYTES_MAX) break;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}
