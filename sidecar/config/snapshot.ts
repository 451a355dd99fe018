// The compiled configuration that a request pins at its head and follows to its end. Everything in it is immutable
// but the state that it points to (clusters, counters), which outlives a change of configuration.

import type { MethodIndex } from '../../proto/kit/transcoded-methods.ts';
import type { ChatTarget } from '../ai/chat-stream.ts';
import { readOtelEnvironment } from '../base/otel-environment.ts';
import type { ServiceAuthorization } from '../filters/authorization/run.ts';
import type { CompiledRule, RouteTable } from '../proxy/route.ts';
import type { RequestStats } from '../telemetry/request-stats.ts';
import type { Cluster } from '../upstream/cluster.ts';

/**
 * What an application speaks on a port of its Service. `grpc` is HTTP/2; `tcp` is opaque; `detect` is told by the first
 * bytes of each connection, and `tcp` to callers.
 */
export type PortProtocol = 'http1' | 'http2' | 'grpc' | 'tcp' | 'detect';

/** How callers reach a port: both sides verified by SPIFFE id, only the server verified, or in the clear. */
export type PortTls = 'mutual' | 'simple' | 'off';

/** What is recorded of requests to one Service. */
export interface CompiledTelemetry {
  /** Share of new traces that are sampled, 0 to 1; a caller's decision is kept. Default OTEL_TRACES_SAMPLER's, else 1 (Istio). */
  readonly traceShare: number;
  /** Share of requests with an access log line, 0 to 1; failed ones always have one while this is above 0. Default 0. */
  readonly logShare: number;
}

/** What a policy says of the opaque connections of a port. */
export interface OpaqueSettings {
  /** `TCP_RULE` with the port's own idle time. */
  readonly rule: CompiledRule;
  /** Version of the PROXY header that begins each connection to an endpoint without a sidecar; 0: none. */
  readonly sendProxy: 0 | 1 | 2;
}

/** Where a request can go: one port of a Service, an application behind this sidecar, or a provider of models. */
export interface Destination {
  /** Resource name, `namespace/name`; the label of its metrics. */
  readonly service: string;
  /** The Service's port; 0 for a provider. */
  readonly port: number;
  readonly protocol: PortProtocol;
  readonly tls: PortTls;
  /** Its endpoints, pools, breaker and budget; the same object for as long as the port exists. */
  readonly cluster: Cluster;
  readonly stats: RequestStats;
  readonly telemetry: CompiledTelemetry;
  /** Not null: JSON requests become gRPC calls of these methods. */
  readonly transcode: MethodIndex | null;
  /** Of a port that carries opaque connections; left out: nothing is said of them. */
  readonly opaque?: OpaqueSettings | undefined;
}

/** A Service as callers see it. */
export interface ServiceState {
  readonly name: string;
  /** By Service port, in the order of the policy. */
  readonly ports: ReadonlyMap<number, Destination>;
  /** Where a call without a port goes: the first port that speaks HTTP; null when there is only opaque TCP. */
  readonly http: Destination | null;
  /** The port on localhost that the policy asks for; 0: none. */
  readonly localPort: number;
}

/** A port of a Service that an application behind this sidecar answers. */
export interface OwnPort {
  readonly port: number;
  readonly protocol: PortProtocol;
  /** What the inbound listener must demand of callers. */
  readonly tls: PortTls;
  /** The application on localhost, in the protocol that it speaks; opaque where that is told by each connection. */
  readonly destination: Destination;
  /** `detect` only: the application for connections that speak HTTP. */
  readonly spoken?: Readonly<Record<'http1' | 'http2', Destination>> | undefined;
  /** Connections in the clear begin with a PROXY header; left out: they must not. */
  readonly acceptProxy?: boolean;
}

/** A Service that this sidecar's own applications serve. */
export interface OwnService {
  readonly name: string;
  readonly ports: ReadonlyMap<number, OwnPort>;
  /** The hosts under which a caller with an identity reaches it, lower-case, without ports. Left out: not told, as by an older control plane. */
  readonly hosts?: ReadonlySet<string> | undefined;
  /** Who may call; `DENY_ALL` when its policies could not be read. */
  readonly authorization: ServiceAuthorization;
}

/** A provider of models, ready to be called. */
export interface ProviderState {
  readonly name: string;
  /** Its cluster dials `base_url`, over verified TLS unless it is http to loopback. */
  readonly destination: Destination;
  /** Timeouts and retries of calls to models: `AI_RULE`. */
  readonly rule: CompiledRule;
}

/** One target of a model. */
export interface ModelTargetState {
  readonly provider: ProviderState;
  /** For ChatOptions.resolveModel. */
  readonly chat: ChatTarget;
  /** Sum of the weights up to and with this one; all of 0 means that no target is wanted. */
  readonly cumulativeWeight: number;
}

/** A virtual model. */
export interface ModelState {
  /** `namespace/name`; the label of its metrics. */
  readonly name: string;
  readonly targets: readonly ModelTargetState[];
}

/** All of a sidecar's configuration at one moment. */
export interface Snapshot {
  /** Hosts that applications may call, and their routes. */
  readonly table: RouteTable;
  /** Names in DNS of Services with an opaque port: where TLS goes that names them. */
  readonly serverNames: ReadonlyMap<string, string>;
  /** By resource name. */
  readonly services: ReadonlyMap<string, ServiceState>;
  /** By resource name. */
  readonly ownServices: ReadonlyMap<string, OwnService>;
  /** By resource name. */
  readonly providers: ReadonlyMap<string, ProviderState>;
  /** By what applications write in `model`. */
  readonly models: ReadonlyMap<string, ModelState>;
  /** Of the own application's calls. */
  readonly telemetry: CompiledTelemetry;
}

/** What is recorded of a Service that no Telemetry speaks of. */
export const DEFAULT_TELEMETRY: CompiledTelemetry = {
  traceShare: readOtelEnvironment(process.env).traceShare,
  logShare: 0,
};

/** Before the first resources: knows no host, lets nobody in. */
export const EMPTY_SNAPSHOT: Snapshot = {
  table: { hosts: new Map() },
  serverNames: new Map(),
  services: new Map(),
  ownServices: new Map(),
  providers: new Map(),
  models: new Map(),
  telemetry: DEFAULT_TELEMETRY,
};

/** The authorization of a Service whose policies are not known: nobody may call. */
export const DENY_ALL: ServiceAuthorization = {
  trustDomain: '',
  namespace: '',
  deny: [],
  allow: [],
  hasAllow: true,
};

/** Neither tried again nor routed: what a receiver's sidecar does for its application. Idle as the caller's; the caller's timeout ends a slow request. */
export const INBOUND_RULE: CompiledRule = {
  name: '(inbound)',
  filters: { redirect: null, requestHeaders: null, rewrite: null, responseHeaders: null },
  backends: [],
  requestTimeoutMs: 0,
  perTryTimeoutMs: 0,
  idleTimeoutMs: 300_000,
  retry: {
    attempts: 1,
    onConnectFailure: true,
    onGatewayError: false,
    onReset: false,
    onUnavailable: false,
    onRateLimited: false,
    nonIdempotent: false,
    backoffBaseMs: 25,
    backoffMaxMs: 250,
  },
};

/** Calls to models: 5 min to the response head (an answer that is not streamed comes whole), 5 min without a byte; tried again only when never sent. */
export const AI_RULE: CompiledRule = { ...INBOUND_RULE, name: '(model)', requestTimeoutMs: 300_000 };

/** Opaque connections: quiet for an hour before they are cut, as Envoy's TCP proxy, unless the port's `idle_timeout` says otherwise. */
export const TCP_RULE: CompiledRule = { ...INBOUND_RULE, name: '(tcp)', idleTimeoutMs: 3_600_000 };
