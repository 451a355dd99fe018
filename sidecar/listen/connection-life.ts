// How long an accepted connection may live: looked at with each request, because one without requests is ended by its
// idle time. What has come to its end is drained, which loses nothing.

import type { GuardName } from '../base/guards.ts';
import { LIMITS } from '../base/limits.ts';
import type { ListenerConfig } from '../base/messages.ts';
import { RUNG } from '../base/overload.ts';
import type { WorkerContext } from './context.ts';

/** What it needs of the worker. */
type LifeContext = Pick<WorkerContext, 'clock' | 'random' | 'overload' | 'guard'>;

/** Of one connection. */
export class ConnectionLife {
  private readonly context: LifeContext;
  private readonly listener: ListenerConfig['kind'];
  private readonly drain: () => void;
  private readonly endMs: number;
  private requestsLeft = LIMITS.connectionRequestsMax;
  private over = false;

  constructor(context: LifeContext, listener: ListenerConfig['kind'], drain: () => void) {
    this.context = context;
    this.listener = listener;
    this.drain = drain;
    // Connections that were made together, after a restart, do not end together.
    const jitter = 1 + LIMITS.connectionAgeJitter * (2 * context.random() - 1);
    this.endMs = context.clock.nowMs() + LIMITS.connectionAgeMaxMs * jitter;
  }

  /** Before each request. */
  onRequest(protocol: 'http1' | 'http2'): void {
    if (this.over) return;
    const reason = this.reason(protocol);
    if (reason === null) return;
    this.over = true;
    this.context.guard(this.listener, reason);
    this.drain();
  }

  private reason(protocol: 'http1' | 'http2'): GuardName | null {
    if (--this.requestsLeft <= 0) return 'connectionRequests';
    const { clock, overload } = this.context;
    if (clock.nowMs() >= this.endMs) return 'connectionAge';
    // One connection of HTTP/2 is all that a mesh peer has: to end it costs a handshake, and frees nothing.
    return protocol === 'http1' && overload.rung >= RUNG.stopKeepAlive ? 'stopKeepAlive' : null;
  }
}
