// A trace collector that needs nothing: takes OTLP over HTTP, in JSON or protobuf, and keeps the latest traces.

import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { gunzipSync } from 'node:zlib';
import { type Span, spansOfJson, spansOfProtobuf } from './spans.ts';

/** A running collector. */
export interface OtlpReceiver {
  readonly port: number;
  /** What has come of one trace. */
  spans(traceId: string): readonly Span[];
  close(): Promise<void>;
}

/** Enough to look back on; at 200 requests/s it is ten seconds. */
const TRACES_MAX = 2_000;
/** An exporter's batch is 512 spans, about 500 KiB in JSON. */
const BODY_BYTES_MAX = 16 * 1024 * 1024;

/** Starts it on a free port of loopback. @param onSpans told of each export that held spans. */
export function startOtlpReceiver(onSpans: (spans: readonly Span[]) => void = () => {}): Promise<OtlpReceiver> {
  const traces = new Map<string, Span[]>();
  const take = (spans: readonly Span[]) => {
    for (const span of spans) {
      const known = traces.get(span.traceId);
      if (known === undefined) traces.set(span.traceId, [span]);
      else known.push(span);
    }
    for (const oldest of traces.keys()) {
      if (traces.size <= TRACES_MAX) break;
      traces.delete(oldest);
    }
    onSpans(spans);
  };
  const server = createServer((request, response) => {
    const answer = (status: number, body: string | Uint8Array, type: string) => {
      response.writeHead(status, { 'content-type': type });
      response.end(body);
    };
    if (request.method !== 'POST' || request.url !== '/v1/traces') return answer(404, 'POST /v1/traces', 'text/plain');
    const json = (request.headers['content-type'] ?? '').startsWith('application/json');
    readBody(request)
      .then((bytes) => {
        take(json ? spansOfJson(bytes.toString()) : spansOfProtobuf(bytes));
        // An empty ExportTraceServiceResponse: everything was taken.
        answer(200, json ? '{}' : new Uint8Array(), json ? 'application/json' : 'application/x-protobuf');
      })
      .catch((error: Error) => answer(400, error.message, 'text/plain'));
    return undefined;
  });
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      resolve({
        port: (server.address() as AddressInfo).port,
        spans: (traceId) => traces.get(traceId) ?? [],
        close: () =>
          new Promise((closed) => {
            server.close(() => closed());
            server.closeAllConnections();
          }),
      });
    });
  });
}

async function readBody(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > BODY_BYTES_MAX) throw new Error(`more than ${BODY_BYTES_MAX} bytes`);
    chunks.push(chunk);
  }
  const body = Buffer.concat(chunks);
  return request.headers['content-encoding'] === 'gzip' ? gunzipSync(body, { maxOutputLength: BODY_BYTES_MAX }) : body;
}
