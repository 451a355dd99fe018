// What the demo's applications share: listening on the port that the environment names, saying so, and ending when told.
// Nothing here or beside it knows of the mesh.

import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

/** Orders and questions are small. */
const BODY_BYTES_MAX = 64 * 1024;

/** A request that cannot be answered as asked. */
export class HttpError extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** Serves HTTP on PORT of loopback; `handle` may reject with an HttpError. */
export function serveHttp(
  name: string,
  handle: (request: IncomingMessage, response: ServerResponse) => Promise<void>,
): void {
  const listener: RequestListener = (request, response) => {
    handle(request, response).catch((error: unknown) => {
      // The head is out: a cut connection is the only way left to say that the answer is not whole.
      if (response.headersSent) return response.destroy();
      const status = error instanceof HttpError ? error.status : 502;
      return sendJson(response, status, { error: (error as Error).message });
    });
  };
  const server = createServer(listener);
  // Longer than any client keeps an idle connection, so that no request meets a closing one.
  server.keepAliveTimeout = 60_000;
  server.listen(Number(process.env['PORT'] ?? 0), '127.0.0.1', () => {
    announce(name, (server.address() as AddressInfo).port);
  });
  endOnSignal(() => {
    server.close(() => process.exit(0));
    server.closeIdleConnections();
  });
}

/** The line by which whoever started the application knows that it serves. */
export function announce(name: string, port: number): void {
  console.log(`${name} listens on 127.0.0.1:${port}`);
}

/** Calls `close` on the first SIGINT or SIGTERM. */
export function endOnSignal(close: () => void): void {
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, close);
}

export function sendJson(response: ServerResponse, status: number, value: unknown): void {
  const body = JSON.stringify(value);
  response.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) });
  response.end(`${body}`);
}

/** The whole body. Throws HttpError 413. */
export async function readText(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > BODY_BYTES_MAX) throw new HttpError(413, `the body is larger than ${BODY_BYTES_MAX} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
}

/** The body as a JSON object. Throws HttpError 400 or 413. */
export async function readJson(request: IncomingMessage): Promise<Record<string, unknown>> {
  const text = await readText(request);
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  } catch {
    // Answered below, as any other body that is no object.
  }
  throw new HttpError(400, 'the body is not a JSON object');
}

/** The trace context that came in, to be sent with every call that the request causes (W3C Trace Context). */
export function traceHeaders(request: IncomingMessage): Record<string, string> {
  const headers: Record<string, string> = {};
  for (const name of ['traceparent', 'tracestate']) {
    const value = request.headers[name];
    if (typeof value === 'string') headers[name] = value;
  }
  return headers;
}

/** A variable that the application cannot work without. */
export function need(name: string): string {
  const value = process.env[name];
  if (value !== undefined && value !== '') return value;
  console.error(`${name} is not set`);
  return process.exit(64);
}
