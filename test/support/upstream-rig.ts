// The calling side of a sidecar for one port of a Service, as its worker has it, with the facts that are counted.

import { threadClock } from '../../sidecar/base/clock.ts';
import { TimerWheel } from '../../sidecar/base/timer-wheel.ts';
import { LivePeers } from '../../sidecar/identity/revoked.ts';
import { OUTLIER_DEFAULTS } from '../../sidecar/upstream/outlier.ts';
import { Upstream, type UpstreamContext, type UpstreamSettings } from '../../sidecar/upstream/upstream.ts';
import { Head, type HttpStream, type StreamEvents } from '../../sidecar/wire/stream.ts';
import type { HandshakeFacts } from '../../sidecar/wire/tls.ts';

const SETTINGS: UpstreamSettings = {
  protocol: 'http1',
  tls: 'mutual',
  meshName: '8080.orders.shop',
  serverName: '',
  rootsPem: '',
  minVersion: 'TLSv1.2',
  identities: new Set(['spiffe://mesh.local/ns/shop/sa/orders']),
  balancing: 'roundRobin',
  outlier: { ...OUTLIER_DEFAULTS, percentMax: 0 },
  requestsMax: 1024,
  connectionsMax: 64,
  pendingRequestsMax: 1024,
  connectTimeoutMs: 5000,
  idleTimeoutMs: 0,
};

export interface UpstreamRig {
  readonly upstream: Upstream;
  /** Of each handshake, oldest first. */
  readonly handshakes: HandshakeFacts[];
  configure(settings: Partial<UpstreamSettings>): void;
  /** GET `/`: the status, or the kind and detail of the error. */
  call(): Promise<number | string>;
  close(): void;
}

/** Calls the one endpoint at `host:port`; with `spiffeId` it stands behind a sidecar. */
export function upstreamRig(
  parts: Partial<UpstreamContext>,
  endpoint: {
    readonly host?: string;
    readonly alternates?: readonly string[];
    readonly port: number;
    readonly spiffeId?: string;
  },
  settings: Partial<UpstreamSettings> = {},
): UpstreamRig {
  const handshakes: HandshakeFacts[] = [];
  const context: UpstreamContext = {
    clock: threadClock,
    wheel: new TimerWheel(threadClock),
    random: Math.random,
    secureContext: () => null,
    peers: new LivePeers(() => {}),
    ...parts,
  };
  const upstream = new Upstream(context, { ...SETTINGS, ...settings });
  upstream.cluster.observer = {
    onHealth() {},
    onConnectFailed() {},
    onMalformed() {},
    onGuard() {},
    onHandshake: (facts) => void handshakes.push(facts),
  };
  upstream.set({ name: 'shop/orders/1', host: '127.0.0.1', labels: [], spiffeId: '', ...endpoint });
  return {
    upstream,
    handshakes,
    configure: (changed) => upstream.configure({ ...SETTINGS, ...changed }),
    call: () =>
      new Promise((resolve) => {
        const events: StreamEvents = {
          onHead: ({ status }) => resolve(status),
          onData() {},
          onEnd() {},
          onDrain() {},
          onReset: ({ kind, detail }) => resolve(`${kind}: ${detail}`),
        };
        upstream.cluster.list[0]?.pool.request({
          ...events,
          onStream: (stream: HttpStream) => stream.writeHead(Head.request('GET', 'https', 'orders', '/', []), true),
          onOpenFailed: ({ kind, detail }) => resolve(`${kind}: ${detail}`),
        });
      }),
    close: () => upstream.close(),
  };
}
