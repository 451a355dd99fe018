// Who sends a request and what the worker offers to serve it: the two things that `serve` is handed, made once per
// connection and once per worker.

import type { Clock } from '../base/clock.ts';
import type { Random } from '../base/random.ts';
import type { TimerWheel } from '../base/timer-wheel.ts';
import type { Snapshot } from '../config/snapshot.ts';
import type { PeerIdentity } from '../filters/authorization/run.ts';
import type { RequestStats } from '../telemetry/request-stats.ts';
import type { TelemetryBuffer } from '../telemetry/worker-buffer.ts';
import type { WorkerSeries } from '../telemetry/worker-series.ts';
import type { ProxiedAddresses } from '../wire/proxy-protocol.ts';

/** What `serve` needs of the worker. */
export interface ServeContext {
  readonly clock: Clock;
  readonly wheel: TimerWheel;
  readonly random: Random;
  readonly series: WorkerSeries;
  readonly telemetry: TelemetryBuffer;
  /** What the worker refuses at present. */
  readonly overload: { readonly rung: number };
  /** Exchanged by config/state.ts; a request reads it once, at its head. */
  snapshot: Snapshot;
  /** Of the outbound listener: clients that dial it by name say it in Host. 0: there is none. */
  readonly outboundPort: number;
  /** Whether anybody exports spans; without, none are recorded. Trace context is passed on in any case. */
  readonly spans: boolean;
  /** Counts requests that never reached a Service. */
  unknownStats(direction: Origin['direction']): RequestStats;
}

/** Where a connection came in; one object per connection or per listener, shared by its requests. */
export interface Origin {
  readonly direction: 'outbound' | 'inbound' | 'ai';
  /**
   * Resource name of the Service that every request of this connection is for: what a local port, a tunnel or the SNI
   * says. Empty (outbound only): the request's authority decides. Inbound: an authority of another Service is answered 421.
   */
  readonly service: string;
  /** The Service's port; 0: by authority, else the Service's first HTTP port. */
  readonly port: number;
  /** Inbound: who calls, as TLS proved. Null: not known, or the own application. */
  readonly peer: PeerIdentity | null;
  /** Inbound, on a port that tells its protocol by the connection: what this one speaks; left out before that is known. */
  readonly spoken?: 'http1' | 'http2' | 'tcp';
  /** Inbound: whose the connection is in the words of a PROXY header that a policy asks for; null: the header names nobody. */
  readonly proxied?: ProxiedAddresses | null;
  /** Inbound: both ends of the connection as this host sees them; null once it is gone. */
  readonly addresses?: () => ProxiedAddresses | null;
}
