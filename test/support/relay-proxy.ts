// A bare relay for tests: real sockets and codecs on both sides, one upstream, no policies. What goes through it
// goes through the same exchange, pool and connector as in a sidecar.

import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { type Attempt, type AttemptPolicy, Exchange } from '../../sidecar/proxy/relay.ts';
import { connectorTo } from '../../sidecar/upstream/connect.ts';
import { Pool } from '../../sidecar/upstream/pool.ts';
import { ProxyError } from '../../sidecar/wire/error.ts';
import { serveHttp1 } from '../../sidecar/wire/http1/server.ts';
import { serveHttp2 } from '../../sidecar/wire/http2/server.ts';
import { WireSocket } from '../../sidecar/wire/socket.ts';
import { Head, type HttpStream, type StreamAcceptor } from '../../sidecar/wire/stream.ts';

export interface RelayProxy {
  port: number;
  finished: Exchange[];
  close(): Promise<void>;
}

/** Listens on a free loopback port, speaks `inbound` there and `outbound` to `upstreamPort`. */
export async function relayProxy(
  inbound: 'http1' | 'http2',
  outbound: 'http1' | 'http2',
  upstreamPort: number,
): Promise<RelayProxy> {
  const finished: Exchange[] = [];
  const pool = new Pool(
    connectorTo({ host: '127.0.0.1', port: upstreamPort, protocol: outbound, tls: null, connectTimeoutMs: 1000 }),
    { connectionsMax: 64, pendingRequestsMax: 1024, requestsPerConnection: outbound === 'http2' ? 100 : 1 },
  );
  const policy: AttemptPolicy = {
    start(attempt: Attempt) {
      attempt.withdraw = () => void pool.cancel(attempt);
      return pool.request(attempt) ? null : new ProxyError('overflow', 'local', 'too many requests wait');
    },
    retryAfterMs: () => -1,
    judge: () => null,
    schedule: () => () => {},
    respond: (downstream: HttpStream, _request, error) => {
      downstream.writeHead(Head.response(503, ['x-error', error.kind, 'content-length', '0']), true);
    },
    finish: (exchange) => finished.push(exchange),
  };
  const accept: StreamAcceptor = (stream) => new Exchange(stream, () => policy);
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    const wire = new WireSocket(socket);
    if (inbound === 'http1') serveHttp1(wire, accept, { scheme: 'http', onMalformed() {}, onClose() {} });
    else serveHttp2(wire, accept, { scheme: 'http', maxConcurrentStreams: 100, onGuard() {}, onClose() {} });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    finished,
    async close() {
      pool.close();
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}
