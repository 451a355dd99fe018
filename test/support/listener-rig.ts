// One listener of a worker in this process, with its configuration written by hand: what inbound and AI tests stand
// on when they are about the listener and not about the worker around it.

import { threadClock } from '../../sidecar/base/clock.ts';
import { createCounterMemory } from '../../sidecar/base/counters.ts';
import type { FromWorker, ListenerConfig, TelemetryRecord, WorkerIdentity } from '../../sidecar/base/messages.ts';
import { TimerWheel } from '../../sidecar/base/timer-wheel.ts';
import {
  type Destination,
  EMPTY_SNAPSHOT,
  type PortProtocol,
  type PortTls,
  type Snapshot,
} from '../../sidecar/config/snapshot.ts';
import { LivePeers } from '../../sidecar/identity/revoked.ts';
import type { Accepted, IdentityState, OpenListener, WorkerContext } from '../../sidecar/listen/context.ts';
import { RequestStats } from '../../sidecar/telemetry/request-stats.ts';
import { TelemetryBuffer } from '../../sidecar/telemetry/worker-buffer.ts';
import { WorkerSeries } from '../../sidecar/telemetry/worker-series.ts';
import { leastRequest } from '../../sidecar/upstream/balancer.ts';
import { Cluster } from '../../sidecar/upstream/cluster.ts';
import { connectorTo } from '../../sidecar/upstream/connect.ts';
import { Pool, type PoolTime } from '../../sidecar/upstream/pool.ts';
import { createMeshContext } from '../../sidecar/wire/tls.ts';
import { freePort } from './ports.ts';

export interface ListenerRig {
  readonly port: number;
  readonly context: WorkerContext;
  /** Records of finished requests, oldest first. */
  readonly records: TelemetryRecord[];
  /** What main would log of refused handshakes: `reason count peer`. */
  readonly refusals: string[];
  /** Of connections whose peer was revoked: `side spiffeId count`. */
  readonly ended: string[];
  /** Open connections. */
  readonly connections: Set<Accepted>;
  setIdentity(identity: WorkerIdentity): void;
  /** The value of a counter by its family and labels. */
  count(family: string, ...labels: string[]): number;
  close(): void;
}

/** How requests reach `port` on localhost: for an application behind the sidecar, or a provider. */
export function destinationTo(
  rig: ListenerRig,
  service: string,
  port: number,
  protocol: PortProtocol,
  direction: 'inbound' | 'outbound' | 'ai' = 'inbound',
  tls: PortTls = 'off',
): Destination {
  const { context } = rig;
  const cluster = new Cluster(leastRequest(Math.random), Math.random);
  const wire = protocol === 'grpc' ? ('http2' as const) : protocol === 'detect' ? ('tcp' as const) : protocol;
  const limits = {
    connectionsMax: 64,
    pendingRequestsMax: 1024,
    requestsPerConnection: wire === 'http2' ? 100 : 1,
    idleTimeoutMs: 0,
  };
  const address = { host: '127.0.0.1', port, protocol: wire, tls: null, connectTimeoutMs: 1000 };
  cluster.setEndpoint(`${service}/app`, [], new Pool(connectorTo(address), limits, context));
  return {
    service,
    port,
    protocol,
    tls,
    cluster,
    stats: new RequestStats(context.series, direction, service),
    telemetry: { traceShare: 1, logShare: 1 },
    transcode: null,
  };
}

/** @param time the thread's own, or one that the test moves. */
export async function listenerRig(
  open: OpenListener,
  kind: ListenerConfig['kind'],
  time: PoolTime = { clock: threadClock, wheel: new TimerWheel(threadClock) },
): Promise<ListenerRig> {
  const records: TelemetryRecord[] = [];
  const refusals: string[] = [];
  const ended: string[] = [];
  const counters = createCounterMemory(2, 4096);
  const slots = new Map<string, number>();
  const post = (message: FromWorker): void => {
    if (message.type === 'telemetry') records.push(...message.records);
    if (message.type !== 'needSeries') return;
    const key = [message.family, ...message.labels].join(' ');
    const slot = 1 + slots.size * 32;
    slots.set(key, slot);
    series.settle(message.request, slot, false);
  };
  const series = new WorkerSeries(counters, 1, post);
  const { clock, wheel } = time;
  const connections = new Set<Accepted>();
  const listeners: ((state: IdentityState) => void)[] = [];
  const config: ListenerConfig = {
    kind,
    host: '127.0.0.1',
    port: await freePort(),
    service: '',
    servicePort: 0,
    reusePort: false,
  };
  const context: WorkerContext = {
    clock,
    wheel,
    random: Math.random,
    series,
    telemetry: new TelemetryBuffer(wheel, post),
    snapshot: EMPTY_SNAPSHOT as Snapshot,
    spans: false,
    outboundPort: config.kind === 'outbound' ? config.port : 0,
    unknownStats: (direction) => new RequestStats(series, direction, ''),
    start: {
      workerIndex: 0,
      trustDomain: 'mesh.local',
      namespace: 'shop',
      apps: [],
      listeners: [config],
      counters,
      overload: { heldBytesMax: Number.POSITIVE_INFINITY, heapBytesMax: Number.POSITIVE_INFINITY },
      spans: false,
    },
    identity: null,
    peers: new LivePeers(({ side, spiffeId, count }) => ended.push(`${side} ${spiffeId} ${count}`)),
    isDraining: () => false,
    overload: { rung: 0 },
    guard: (kind, name) => series.counter('guards', kind, name).add(1),
    track(connection) {
      connections.add(connection);
      return () => void connections.delete(connection);
    },
    onIdentity(listener) {
      listeners.push(listener);
      if (context.identity !== null) listener(context.identity);
    },
    tellRefusals: ({ reason, count, peer }) => refusals.push(`${reason} ${count} ${peer}`),
    contain(error) {
      throw error;
    },
  };
  const listener = await open(context, config);
  return {
    port: config.port,
    context,
    records,
    refusals,
    ended,
    connections,
    setIdentity(identity) {
      const [, , trustDomain = '', , namespace = ''] = identity.spiffeId.split('/');
      const state: IdentityState = {
        identity,
        self: { spiffeId: identity.spiffeId, trustDomain, namespace },
        secureContext: createMeshContext(identity),
      };
      context.identity = state;
      for (const tell of listeners) tell(state);
    },
    count(family, ...labels) {
      const slot = slots.get([family, ...labels].join(' '));
      return slot === undefined ? 0 : (series.column[slot] as number);
    },
    close() {
      listener.stop();
      for (const connection of connections) connection.destroy();
    },
  };
}

/** Waits until `holds`, asked once a turn of the loop; fails after 20 s. */
export async function until(what: string, holds: () => boolean): Promise<void> {
  const deadline = Date.now() + 20_000;
  while (!holds()) {
    if (Date.now() > deadline) throw new Error(`still not after 20 s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
