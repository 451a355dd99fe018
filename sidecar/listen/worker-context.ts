// The worker's one context: what listeners and requests share, and the connections that a drain has to end.

import { parseSpiffeId } from '../../proto/kit/spiffe.ts';
import { threadClock } from '../base/clock.ts';
import type { GuardName } from '../base/guards.ts';
import { LIMITS } from '../base/limits.ts';
import type { FromWorker, WorkerIdentity, WorkerStart } from '../base/messages.ts';
import { Overload } from '../base/overload.ts';
import { TimerWheel, WheelTimer } from '../base/timer-wheel.ts';
import { EMPTY_SNAPSHOT, type Snapshot } from '../config/snapshot.ts';
import { LivePeers } from '../identity/revoked.ts';
import type { Origin } from '../proxy/origin.ts';
import { RequestStats } from '../telemetry/request-stats.ts';
import { TelemetryBuffer } from '../telemetry/worker-buffer.ts';
import { WorkerSeries } from '../telemetry/worker-series.ts';
import { createMeshContext } from '../wire/tls.ts';
import type { Accepted, IdentityState, WorkerContext } from './context.ts';
import type { TellRefusals } from './refusal-log.ts';

/** What a drain has reached. */
type Draining = 'none' | 'inbound' | 'all';

export class LiveContext implements WorkerContext {
  readonly start: WorkerStart;
  readonly clock = threadClock;
  readonly wheel = new TimerWheel(threadClock);
  readonly random = Math.random;
  readonly series: WorkerSeries;
  readonly telemetry: TelemetryBuffer;
  readonly spans: boolean;
  readonly outboundPort: number;
  readonly overload: Overload<Accepted>;
  snapshot: Snapshot = EMPTY_SNAPSHOT;
  identity: IdentityState | null = null;
  readonly peers = new LivePeers((ended) => {
    this.series.counter('revoked', ended.side).add(ended.count);
    this.post({ type: 'peerRevoked', ...ended });
  });
  private readonly post: (message: FromWorker) => void;
  private readonly open = new Set<Accepted>();
  private readonly identityListeners: ((state: IdentityState) => void)[] = [];
  private readonly unknown = new Map<Origin['direction'], RequestStats>();
  private draining: Draining = 'none';
  private onClosed: (() => void) | null = null;
  private readonly paceTimer = new WheelTimer(() => {
    for (const connection of [...this.open]) connection.look();
    if (this.open.size > 0) this.wheel.arm(this.paceTimer, LIMITS.paceEveryMs);
  });

  constructor(start: WorkerStart, post: (message: FromWorker) => void) {
    this.start = start;
    this.post = post;
    this.spans = start.spans;
    this.outboundPort = start.listeners.find(({ kind }) => kind === 'outbound')?.port ?? 0;
    // Column 0 is main's.
    this.series = new WorkerSeries(start.counters, start.workerIndex + 1, post);
    this.telemetry = new TelemetryBuffer(this.wheel, (message) => {
      if (message.type === 'telemetry' && message.dropped > 0)
        this.series.counter('telemetryDropped').add(message.dropped);
      post(message);
    });
    this.overload = new Overload(start.overload, {
      clock: this.clock,
      holders: () => this.open,
      onShed: ({ listener }) => this.guard(listener, 'shed'),
      onPressure: () => {
        for (const connection of [...this.open]) if (connection.isIdle) connection.drain();
      },
    });
  }

  /** Accepted connections that are open. */
  get connections(): number {
    return this.open.size;
  }

  unknownStats(direction: Origin['direction']): RequestStats {
    let stats = this.unknown.get(direction);
    if (stats === undefined) {
      stats = new RequestStats(this.series, direction, '');
      this.unknown.set(direction, stats);
    }
    return stats;
  }

  track(connection: Accepted): () => void {
    const gauge = this.series.counter('connections', connection.listener);
    gauge.add(1);
    this.open.add(connection);
    if (!this.paceTimer.armed) this.wheel.arm(this.paceTimer, LIMITS.paceEveryMs);
    return () => {
      if (!this.open.delete(connection)) return;
      gauge.add(-1);
      this.onClosed?.();
    };
  }

  guard(listener: Accepted['listener'], name: GuardName): void {
    this.series.counter('guards', listener, name).add(1);
  }

  onIdentity(listener: (state: IdentityState) => void): void {
    this.identityListeners.push(listener);
    if (this.identity !== null) listener(this.identity);
  }

  /** New connections use it from now on; those that are open finish with theirs. */
  setIdentity(identity: WorkerIdentity): void {
    const parsed = parseSpiffeId(identity.spiffeId);
    if (!parsed.ok) throw new Error(`main handed over a bad identity: ${parsed.error}`);
    const { trustDomain, namespace } = parsed.identity;
    const self = { spiffeId: parsed.id, trustDomain, namespace };
    const state = { identity, self, secureContext: createMeshContext(identity) };
    this.identity = state;
    for (const listener of this.identityListeners) listener(state);
  }

  readonly tellRefusals: TellRefusals = (refusals) => {
    this.post({ type: 'handshakesRefused', ...refusals });
  };

  contain(error: Error): void {
    this.series.counter('contained').add(1);
    this.post({ type: 'contained', stack: error.stack ?? error.message });
  }

  isDraining(listener: Accepted['listener']): boolean {
    return this.draining === 'all' || (this.draining === 'inbound' && listener === 'inbound');
  }

  /**
   * Lets connections finish, those of the inbound port or all; resolves when the last is gone; after `drainMs` those
   * left are destroyed.
   */
  drain(which: Exclude<Draining, 'none'>, drainMs: number): Promise<void> {
    this.draining = which;
    const left = (): Accepted[] => [...this.open].filter(({ listener }) => this.isDraining(listener));
    return new Promise((resolve) => {
      const timer = new WheelTimer(() => {
        for (const connection of left()) connection.destroy();
        finish();
      });
      const finish = (): void => {
        this.onClosed = null;
        this.wheel.cancel(timer);
        resolve();
      };
      this.onClosed = () => {
        for (const { listener } of this.open) if (this.isDraining(listener)) return;
        finish();
      };
      this.wheel.arm(timer, drainMs);
      for (const connection of left()) connection.drain();
      this.onClosed?.();
    });
  }
}
