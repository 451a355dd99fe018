// A bare relay for tests: real sockets and codecs on both sides, one cluster, one rule. What goes through it
// goes through the same exchange, pool and connector as in a sidecar.

import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { threadClock } from '../../sidecar/base/clock.ts';
import { TimerWheel } from '../../sidecar/base/timer-wheel.ts';
import { DEFAULT_RULE } from '../../sidecar/config/compile-route.ts';
import { type AttemptContext, RequestPlan } from '../../sidecar/proxy/attempt.ts';
import { Exchange } from '../../sidecar/proxy/relay.ts';
import type { CompiledRule } from '../../sidecar/proxy/route.ts';
import { leastRequest } from '../../sidecar/upstream/balancer.ts';
import { Cluster } from '../../sidecar/upstream/cluster.ts';
import { connectorTo } from '../../sidecar/upstream/connect.ts';
import { Pool } from '../../sidecar/upstream/pool.ts';
import { serveHttp1 } from '../../sidecar/wire/http1/server.ts';
import { serveHttp2 } from '../../sidecar/wire/http2/server.ts';
import { WireSocket } from '../../sidecar/wire/socket.ts';
import type { StreamAcceptor } from '../../sidecar/wire/stream.ts';

export interface RelayProxy {
  port: number;
  finished: Exchange[];
  close(): Promise<void>;
}

/** Listens on a free loopback port, speaks `inbound` there and `outbound` to the upstreams, under the default rule but for `rule`. */
export async function relayProxy(
  inbound: 'http1' | 'http2',
  outbound: 'http1' | 'http2',
  upstreamPorts: readonly number[],
  rule: Partial<CompiledRule> = {},
): Promise<RelayProxy> {
  const finished: Exchange[] = [];
  const wheel = new TimerWheel(threadClock);
  const cluster = new Cluster(leastRequest(Math.random), Math.random);
  for (const port of upstreamPorts) {
    const address = { host: '127.0.0.1', port, protocol: outbound, tls: null, connectTimeoutMs: 1000 };
    const limits = {
      connectionsMax: 64,
      pendingRequestsMax: 1024,
      idleTimeoutMs: 0,
      requestsPerConnection: outbound === 'http2' ? 100 : 1,
    };
    cluster.setEndpoint(
      `test/app/${port}`,
      ['port', String(port)],
      new Pool(connectorTo(address), limits, { clock: threadClock, wheel }),
    );
  }
  const context: AttemptContext = {
    clock: threadClock,
    wheel,
    random: Math.random,
    expose: false,
    onFinish: (exchange) => finished.push(exchange),
  };
  const accept: StreamAcceptor = (stream) =>
    new Exchange(stream, (exchange) => new RequestPlan(context, exchange, cluster, { ...DEFAULT_RULE, ...rule }, []));
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    const wire = new WireSocket(socket);
    if (inbound === 'http1') serveHttp1(wire, accept, { scheme: 'http', onMalformed() {}, onClose() {} });
    else
      serveHttp2(wire, accept, {
        scheme: 'http',
        maxConcurrentStreams: 100,
        onMalformed() {},
        onGuard() {},
        onClose() {},
      });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    finished,
    async close() {
      for (const port of upstreamPorts) cluster.removeEndpoint(`test/app/${port}`);
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}
