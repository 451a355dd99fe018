// One port of a Service on the calling side: its cluster, and how each endpoint is dialled. Lives as long as the port
// exists; a change of policy reaches the cluster, the pools and the next dial without losing a connection.

import type { SecureContext } from 'node:tls';
import { verifySpiffe } from '../../proto/kit/san.ts';
import { LIMITS } from '../base/limits.ts';
import type { Random } from '../base/random.ts';
import type { LivePeers } from '../identity/revoked.ts';
import { ProxyError } from '../wire/error.ts';
import { OutwardSessions } from '../wire/sessions.ts';
import { createOutwardContext, type OutwardVersion } from '../wire/tls.ts';
import { type Balancer, leastRequest, roundRobin } from './balancer.ts';
import { Cluster } from './cluster.ts';
import { connectorTo, type EndpointTls, whereIs } from './connect.ts';
import type { OutlierPolicy } from './outlier.ts';
import { type Connect, Pool, type PoolLimits, type PoolTime } from './pool.ts';

/** What every upstream of a worker shares. */
export interface UpstreamContext extends PoolTime {
  readonly random: Random;
  /** Key, chain and roots of this workload; null before its first identity. Asked at each dial. */
  secureContext(): SecureContext | null;
  /** The mesh peers that are connected, and who of them is revoked. */
  readonly peers: LivePeers;
}

/** How endpoints without a sidecar are reached; those with one always over mutual TLS. */
export interface UpstreamSettings {
  readonly protocol: 'http1' | 'http2' | 'grpc' | 'tcp';
  readonly tls: 'mutual' | 'simple' | 'off';
  /** Version of the PROXY header that begins an opaque connection in the clear; 0 or left out: none. */
  readonly sendProxy?: 0 | 1 | 2;
  /** Between sidecars `port.service.namespace`. */
  readonly meshName: string;
  /** SIMPLE: the name in the server's certificate; empty: its address. */
  readonly serverName: string;
  /** SIMPLE: PEM roots; empty: the public ones. */
  readonly rootsPem: string;
  /** SIMPLE: the oldest version that is spoken. */
  readonly minVersion: OutwardVersion;
  /** SPIFFE ids that may answer. */
  readonly identities: ReadonlySet<string>;
  readonly balancing: 'leastRequest' | 'roundRobin';
  readonly outlier: OutlierPolicy;
  readonly requestsMax: number;
  readonly connectionsMax: number;
  readonly pendingRequestsMax: number;
  readonly connectTimeoutMs: number;
  /** 0: the protocol's default. */
  readonly idleTimeoutMs: number;
}

/** One workload. */
export interface UpstreamEndpoint {
  /** Resource name. */
  readonly name: string;
  readonly host: string;
  readonly port: number;
  /** Other addresses of the same name, for one that leads nowhere, in this order; none: left out or empty. */
  readonly alternates?: readonly string[];
  /** A unix socket in place of host and port. */
  readonly path?: string;
  /** Flat `[label, value, ...]`. */
  readonly labels: readonly string[];
  /** Empty: it has no sidecar. */
  readonly spiffeId: string;
}

/** Streams that one new HTTP/2 connection is expected to carry (RFC 9113 §6.5.2 recommends no less). */
const HTTP2_STREAMS = 100;
/** Shorter than applications' keep-alive (Node: 5 s), or a request meets a closing connection. */
const HTTP1_IDLE_MS = 4_000;
/** As Envoy's; a mesh connection is dear to make and cheap to keep. */
const HTTP2_IDLE_MS = 3_600_000;

export class Upstream {
  readonly cluster: Cluster;
  private readonly context: UpstreamContext;
  private settings: UpstreamSettings;
  private readonly endpoints = new Map<string, UpstreamEndpoint>();
  /** By endpoint: the alternates that connections of its pool have gone to. */
  private readonly reached = new Map<string, Set<string>>();
  private simple: SecureContext | null = null;

  constructor(context: UpstreamContext, settings: UpstreamSettings) {
    this.context = context;
    this.settings = settings;
    this.cluster = new Cluster(this.balancer(), context.random, settings.outlier);
    this.cluster.requestsMax = settings.requestsMax;
  }

  /** A changed policy. Pools are made anew only when the way of dialling changes. */
  configure(settings: UpstreamSettings): void {
    const old = this.settings;
    this.settings = settings;
    const balancer = old.balancing === settings.balancing ? null : this.balancer();
    this.cluster.configure(balancer, settings.outlier, settings.requestsMax);
    const redial =
      old.protocol !== settings.protocol ||
      old.tls !== settings.tls ||
      old.sendProxy !== settings.sendProxy ||
      old.serverName !== settings.serverName ||
      old.rootsPem !== settings.rootsPem ||
      old.minVersion !== settings.minVersion;
    if (redial) {
      this.simple = null;
      for (const endpoint of this.endpoints.values()) this.put(endpoint);
      return;
    }
    for (const { name, pool } of this.cluster.list) {
      const endpoint = this.endpoints.get(name);
      if (endpoint !== undefined) pool.limits = this.limitsFor(endpoint);
    }
  }

  /** Adds or changes an endpoint; one that says the same keeps its connections and its health. */
  set(endpoint: UpstreamEndpoint): void {
    const known = this.endpoints.get(endpoint.name);
    if (known !== undefined && isSame(known, endpoint)) return;
    this.endpoints.set(endpoint.name, endpoint);
    // Names often have other addresses than before: what is connected to one that went gets nothing new, all else stays.
    const { alternates = [] } = endpoint;
    const reached = [...(this.reached.get(endpoint.name) ?? [])];
    const stays = known !== undefined && isSamePlace(known, endpoint);
    if (!stays || reached.some((host) => !alternates.includes(host))) this.put(endpoint);
  }

  remove(name: string): void {
    this.reached.delete(name);
    if (this.endpoints.delete(name)) this.cluster.removeEndpoint(name);
  }

  /** Keeps only these endpoints. */
  retain(names: ReadonlySet<string>): void {
    for (const name of [...this.endpoints.keys()]) if (!names.has(name)) this.remove(name);
  }

  /** Every endpoint goes; what is under way ends by itself. */
  close(): void {
    this.retain(new Set());
  }

  /** Where an endpoint is, for people. */
  address(name: string): string {
    const endpoint = this.endpoints.get(name);
    return endpoint === undefined ? '' : whereIs(endpoint);
  }

  private put(endpoint: UpstreamEndpoint): void {
    this.reached.delete(endpoint.name);
    const pool = new Pool(this.connector(endpoint), this.limitsFor(endpoint), this.context);
    this.cluster.setEndpoint(endpoint.name, endpoint.labels, pool, this.tlsOf(endpoint) === 'mutual');
  }

  private balancer(): Balancer {
    const { random } = this.context;
    return this.settings.balancing === 'roundRobin' ? roundRobin(random) : leastRequest(random);
  }

  private tlsOf(endpoint: UpstreamEndpoint): UpstreamSettings['tls'] {
    return endpoint.spiffeId === '' ? this.settings.tls : 'mutual';
  }

  private isHttp2(endpoint: UpstreamEndpoint): boolean {
    return this.tlsOf(endpoint) === 'mutual' || this.settings.protocol === 'http2' || this.settings.protocol === 'grpc';
  }

  private limitsFor(endpoint: UpstreamEndpoint): PoolLimits {
    const { connectionsMax, pendingRequestsMax, idleTimeoutMs } = this.settings;
    if (!this.isHttp2(endpoint)) {
      const idle = idleTimeoutMs || HTTP1_IDLE_MS;
      return { connectionsMax, pendingRequestsMax, requestsPerConnection: 1, idleTimeoutMs: idle };
    }
    return {
      connectionsMax: Math.min(connectionsMax, LIMITS.http2ConnectionsMax),
      pendingRequestsMax,
      requestsPerConnection: HTTP2_STREAMS,
      idleTimeoutMs: idleTimeoutMs || HTTP2_IDLE_MS,
    };
  }

  /** Each dial reads the settings and the identity of its moment. */
  private connector(endpoint: UpstreamEndpoint): Connect {
    // As long as the pool: a change of name or roots makes a new one.
    const sessions = new OutwardSessions();
    return (observer) => {
      const tls = this.tlsFor(endpoint, sessions);
      if (tls instanceof ProxyError) {
        queueMicrotask(() => observer.onGone(tls));
        return () => {};
      }
      const { connectTimeoutMs, sendProxy = 0 } = this.settings;
      const { host, port, path } = endpoint;
      const alternates = this.endpoints.get(endpoint.name)?.alternates ?? [];
      const protocol = this.isHttp2(endpoint) ? 'http2' : this.settings.protocol === 'tcp' ? 'tcp' : 'http1';
      const address = {
        host,
        port,
        alternates,
        ...(path && { path }),
        protocol,
        tls,
        connectTimeoutMs,
        sendProxy,
      } as const;
      return connectorTo(address, this.cluster.observer, (host) => this.noteReached(endpoint.name, host))(observer);
    };
  }

  private noteReached(name: string, host: string): void {
    const reached = this.reached.get(name) ?? new Set();
    this.reached.set(name, reached.add(host));
  }

  private tlsFor(endpoint: UpstreamEndpoint, sessions: OutwardSessions): EndpointTls | null | ProxyError {
    const mode = this.tlsOf(endpoint);
    if (mode === 'off') return null;
    if (mode === 'simple') {
      const alpn = this.isHttp2(endpoint) ? 'h2' : 'http/1.1';
      return {
        context: this.simpleContext(),
        serverName: this.settings.serverName,
        alpn,
        verify: null,
        peers: null,
        sessions,
      };
    }
    const context = this.context.secureContext();
    if (context === null) {
      const detail = `${endpoint.name} wants mutual TLS and this sidecar has no identity yet: see /certificates of its admin`;
      return new ProxyError('tlsFailed', 'local', detail, 'yes');
    }
    const { identities, meshName } = this.settings;
    return {
      context,
      serverName: meshName,
      alpn: 'h2',
      verify: (certificate) => verifySpiffe(certificate, identities),
      peers: this.context.peers,
      sessions: null,
    };
  }

  private simpleContext(): SecureContext {
    const { rootsPem, minVersion } = this.settings;
    this.simple ??= createOutwardContext(rootsPem, minVersion);
    return this.simple;
  }
}

function isSame(one: UpstreamEndpoint, other: UpstreamEndpoint): boolean {
  return isSamePlace(one, other) && (one.alternates ?? []).join() === (other.alternates ?? []).join();
}

function isSamePlace(one: UpstreamEndpoint, other: UpstreamEndpoint): boolean {
  return (
    one.host === other.host &&
    one.port === other.port &&
    one.path === other.path &&
    one.spiffeId === other.spiffeId &&
    one.labels.join('\0') === other.labels.join('\0')
  );
}
