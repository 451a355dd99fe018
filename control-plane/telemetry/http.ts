// Metrics and health over plain HTTP, for Prometheus and for whoever supervises the process.

import { createServer, type Server } from 'node:http';
import type { Metrics } from './metrics.ts';

/** Serves `/metrics`, `/healthz` (the process answers) and `/readyz` (it serves; 503 when it ends). Not listening yet. */
export function metricsServer(metrics: Metrics, ready: () => boolean): Server {
  return createServer((request, response) => {
    const path = (request.url ?? '').split('?')[0];
    const answer = (status: number, type: string, body: string): void => {
      response.writeHead(status, {
        'content-type': type,
        'content-length': Buffer.byteLength(body),
        'x-content-type-options': 'nosniff',
      });
      response.end(request.method === 'HEAD' ? '' : body);
    };
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      answer(405, 'text/plain', 'GET only\n');
    } else if (path === '/healthz') {
      answer(200, 'text/plain', 'ok\n');
    } else if (path === '/readyz') {
      if (ready()) answer(200, 'text/plain', 'ok\n');
      else answer(503, 'text/plain', 'not ready\n');
    } else if (path === '/metrics') {
      metrics.registry.metrics().then(
        (text) => answer(200, metrics.registry.contentType, text),
        (error: Error) => answer(500, 'text/plain', `${error.message}\n`),
      );
    } else {
      answer(404, 'text/plain', '/metrics, /healthz and /readyz are here\n');
    }
  });
}
