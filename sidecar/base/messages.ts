// What the sidecar's main thread and its data-path workers say to each other: plain data over postMessage, so that
// a worker can be killed and started again from what main holds. Main owns the control-plane stream, the identity
// and the counters' slot table; a worker owns sockets and compiled config.

import type { CounterMemory } from './counters.ts';
import type { OverloadLimits } from './overload.ts';

/** One wire resource as it came from the control plane or a snapshot; the worker decodes and compiles it. */
export interface ResourceBytes {
  readonly typeUrl: string;
  readonly name: string;
  readonly version: string;
  readonly bytes: Uint8Array;
}

/** The workload's identity as workers need it. Only ever in memory and in the state directory. */
export interface WorkerIdentity {
  readonly spiffeId: string;
  readonly privateKeyPem: string;
  /** Leaf first, without the root. */
  readonly chainPem: string;
  /** Every root to trust, PEM. */
  readonly rootsPem: readonly string[];
}

/** An application behind this sidecar (`--app [NAME=]PORT`). */
export interface LocalApp {
  /** Resource name of its Service, `namespace/name`; empty: the only one that the identity serves. */
  readonly service: string;
  /** The Service's port that it answers; 0: the only one. */
  readonly servicePort: number;
  /** The port on localhost where it listens. */
  readonly port: number;
  /** Its unix socket in place of a port. */
  readonly path?: string;
}

/** A socket to listen on. Main has proved that nobody else holds the address. */
export interface ListenerConfig {
  /** `outbound`: by Host header or as HTTP proxy; `local`: one Service's own port; `inbound`: mTLS; `ai`: models. */
  readonly kind: 'outbound' | 'local' | 'inbound' | 'ai';
  readonly host: string;
  readonly port: number;
  /** `local` only: a unix socket in place of host and port, which the first worker serves. */
  readonly path?: string;
  /** `local` only: the Service's resource name. */
  readonly service: string;
  /** `local` only: the Service's port; 0: its first. */
  readonly servicePort: number;
  /** With more than one worker. */
  readonly reusePort: boolean;
}

/** `workerData` of a data-path worker: what does not change in its life. */
export interface WorkerStart {
  readonly workerIndex: number;
  readonly trustDomain: string;
  /** The namespace in which short names (`orders`) are looked up. */
  readonly namespace: string;
  readonly apps: readonly LocalApp[];
  readonly listeners: readonly ListenerConfig[];
  /** The shared counter memory (base/counters.ts); the worker adds to column `workerIndex + 1`. */
  readonly counters: CounterMemory;
  /** Bounds of this worker's memory. */
  readonly overload: OverloadLimits;
  /** Whether spans are exported; if not, none are recorded, and trace context is still passed on. */
  readonly spans: boolean;
}

/** A worker ejected an endpoint for `ejectedMs`, probes it, or readmitted it. A length, not a time: each thread has its own clock. */
export interface HealthNews {
  readonly type: 'health';
  /** `direction service port`. */
  readonly target: string;
  readonly endpoint: string;
  readonly event: 'ejected' | 'probing' | 'readmitted';
  /** 0: it is not ejected now. */
  readonly ejectedMs: number;
}

export type ToWorker =
  /** Changes since the last one, or everything after a start. Answered by `applied` with the same `sequence`. */
  | {
      readonly type: 'resources';
      readonly sequence: number;
      readonly upserts: readonly ResourceBytes[];
      readonly removed: readonly { readonly typeUrl: string; readonly name: string }[];
    }
  | { readonly type: 'identity'; readonly identity: WorkerIdentity }
  /** The slot to count a label set in that the worker asked for: its own, or that of the family's overflow series (`isOverflow`). Negative: count nowhere. */
  | { readonly type: 'series'; readonly request: number; readonly slot: number; readonly isOverflow: boolean }
  /** The local ports that policies ask for now: those that are new are opened, those that are gone closed. */
  | { readonly type: 'localPorts'; readonly listeners: readonly ListenerConfig[] }
  /** Another worker's `health`. */
  | HealthNews
  /** Label sets that main gives back after `seriesIdleMs`: forget them, ask again when needed. Answered by `forgot`. */
  | {
      readonly type: 'forget';
      readonly request: number;
      readonly series: readonly { readonly family: string; readonly labels: readonly string[] }[];
    }
  /** Answered by `pong`, at once unless its loop is blocked. */
  | { readonly type: 'ping' }
  /** Why a request goes where it goes; answered by `explained`. */
  | { readonly type: 'explain'; readonly request: number; readonly query: ExplainQuery }
  /** The worker's view for `admin`: endpoints with health, config. Answered by `dumped`. */
  | { readonly type: 'dump'; readonly request: number }
  /** Stop accepting, end keep-alive, let work finish until the deadline; answered by `drained`. */
  | { readonly type: 'drain'; readonly drainMs: number };

export interface ExplainQuery {
  /** `outbound`: where would it go; `inbound`: would it be let in. */
  readonly direction: 'outbound' | 'inbound';
  readonly method: string;
  readonly authority: string;
  readonly path: string;
  /** Flat `[name, value, ...]`, lower-case names. */
  readonly headers: readonly string[];
  /** Inbound only: the caller's SPIFFE id. */
  readonly caller: string;
}

export interface ResourceError {
  readonly typeUrl: string;
  readonly name: string;
  readonly error: string;
}

export type FromWorker =
  /** To be told to the other workers. */
  | HealthNews
  /** It listens on everything it was given. */
  | { readonly type: 'listening' }
  | { readonly type: 'applied'; readonly sequence: number; readonly errors: readonly ResourceError[] }
  /** A label set is new to this worker: the key of its family in metrics.ts and label values, in the family's order. Answered by `series`. */
  | {
      readonly type: 'needSeries';
      readonly request: number;
      readonly family: string;
      readonly labels: readonly string[];
    }
  | { readonly type: 'forgot'; readonly request: number }
  /** Access log lines, spans and events since the last one; JSON records, bounded and counted where dropped. */
  | { readonly type: 'telemetry'; readonly records: readonly TelemetryRecord[]; readonly dropped: number }
  | { readonly type: 'explained'; readonly request: number; readonly result: unknown }
  | { readonly type: 'dumped'; readonly request: number; readonly result: unknown }
  /** A throw was contained to one connection. */
  | { readonly type: 'contained'; readonly stack: string }
  | { readonly type: 'pong' }
  /** So many handshakes were refused since the last word of this reason; at most one a minute. */
  | (HandshakesRefused & { readonly type: 'handshakesRefused' })
  /** So many open connections with a peer ended, because it is revoked now. */
  | (PeerRevoked & { readonly type: 'peerRevoked' })
  /** A local port of a policy could not be opened. */
  | { readonly type: 'portLost'; readonly port: number; readonly reason: string }
  | { readonly type: 'drained' };

/** See identity/revoked.ts. */
export interface PeerRevoked {
  readonly side: 'inbound' | 'outbound';
  readonly serial: string;
  readonly spiffeId: string;
  readonly count: number;
}

/** See listen/refusal-log.ts. */
export interface HandshakesRefused {
  readonly reason: string;
  readonly count: number;
  readonly peer: string;
  readonly why: string;
}

/** One finished request as the main thread logs and traces it. Times are Unix milliseconds with a fraction. */
export interface TelemetryRecord {
  readonly kind: 'request';
  /** Wanted as an access log line, as a span, or both. */
  readonly log: boolean;
  readonly span: boolean;
  readonly direction: 'outbound' | 'inbound' | 'ai';
  readonly startMs: number;
  readonly endMs: number;
  readonly traceId: string;
  readonly spanId: string;
  /** Empty: the trace begins here. */
  readonly parentSpanId: string;
  readonly method: string;
  readonly authority: string;
  /** Without the query. */
  readonly path: string;
  readonly status: number;
  /** gRPC status, -1 when the request was none. */
  readonly grpcStatus: number;
  /** `-`, or the response flag of proxy/respond.ts. */
  readonly flag: string;
  readonly detail: string;
  readonly route: string;
  readonly service: string;
  readonly endpoint: string;
  readonly peer: string;
  /** `address:port` of the caller, where a PROXY header told it; else empty. */
  readonly client: string;
  readonly attempts: number;
  readonly requestBytes: number;
  readonly responseBytes: number;
  /** AI calls: model, tokens and cost; null elsewhere. */
  readonly usage: {
    readonly model: string;
    readonly inputTokens: number;
    readonly outputTokens: number;
    readonly costMicroUsd: number;
  } | null;
}
