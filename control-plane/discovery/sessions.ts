// The sidecars that are connected, for status and metrics, and the end of those that no longer answer.

import type { DiscoveryObserver } from './server.ts';
import type { DiscoveryStream } from './stream.ts';

/** One connected sidecar. */
export interface Session {
  readonly stream: DiscoveryStream;
  /** Address and port of its connection, which its registration shares. */
  readonly peer: string;
  /** Of the certificate that it showed; empty without one. */
  readonly serial: string;
  readonly connectedAtMs: number;
  /** Its age is reached then. */
  readonly endsAtMs: number;
  end(reason: string): void;
}

/** What sessions tell metrics and the log. */
export interface SessionEvents {
  onOpen(session: Session): void;
  onSend(typeUrl: string, bytes: number): void;
  onAck(typeUrl: string, waitMs: number): void;
  onReject(session: Session, typeUrl: string, reasons: readonly string[]): void;
  onClose(session: Session): void;
}

/** 30 s to compile and swap what takes a worker 2 ms a slice; after it a sidecar is stuck, and reconnecting mends that. */
export const ACK_TIMEOUT_MS = 30_000;

/**
 * A stream of this age is closed (istiod's 30 min). Its sidecar comes back within a second by its newest certificate, to
 * whichever control plane takes connections, and says what it holds, so that it gets what changed and nothing else. A
 * stream without an end would live by a certificate that ended long ago.
 */
export const SESSION_AGE_MAX_MS = 30 * 60_000;

/** That age varies by up to this share in both directions: sidecars that came together do not come back together (gRFC A9). */
const SESSION_AGE_JITTER = 0.1;

/** How often unanswered responses and old streams are looked for. */
const SWEEP_MS = 5_000;

/** All open discovery streams. */
export class Sessions implements DiscoveryObserver {
  readonly #events: SessionEvents;
  readonly #now: () => number;
  readonly #random: () => number;
  readonly #open = new Map<DiscoveryStream, Session>();
  readonly #timer: NodeJS.Timeout;

  /** @param now Unix milliseconds. @param random in [0, 1). */
  constructor(events: SessionEvents, now: () => number, random: () => number = Math.random) {
    this.#events = events;
    this.#now = now;
    this.#random = random;
    this.#timer = setInterval(() => this.sweep(), SWEEP_MS);
    this.#timer.unref();
  }

  list(): Session[] {
    return [...this.#open.values()];
  }

  onOpen(stream: DiscoveryStream, peer: string, serial: string, end: (reason: string) => void): void {
    const connectedAtMs = this.#now();
    const ageMs = SESSION_AGE_MAX_MS * (1 + SESSION_AGE_JITTER * (2 * this.#random() - 1));
    const session = { stream, peer, serial, end, connectedAtMs, endsAtMs: connectedAtMs + ageMs };
    this.#open.set(stream, session);
    this.#events.onOpen(session);
  }

  onSend(_stream: DiscoveryStream, typeUrl: string, bytes: number): void {
    this.#events.onSend(typeUrl, bytes);
  }

  onAck(_stream: DiscoveryStream, typeUrl: string, waitMs: number): void {
    this.#events.onAck(typeUrl, waitMs);
  }

  onReject(
    stream: DiscoveryStream,
    typeUrl: string,
    _error: unknown,
    rejected: readonly { readonly name: string; readonly reason: string }[],
  ): void {
    const session = this.#open.get(stream);
    if (session === undefined) return;
    const reasons = rejected.map(({ name, reason }) => (name === '' ? reason : `${name}: ${reason}`));
    this.#events.onReject(session, typeUrl, reasons);
  }

  onClose(stream: DiscoveryStream): void {
    const session = this.#open.get(stream);
    this.#open.delete(stream);
    if (session !== undefined) this.#events.onClose(session);
  }

  /** Ends streams that have left a response unanswered for ACK_TIMEOUT_MS, and those of SESSION_AGE_MAX_MS. */
  sweep(): void {
    const nowMs = this.#now();
    for (const { stream, connectedAtMs, endsAtMs, end } of this.list()) {
      if (stream.unansweredMs > ACK_TIMEOUT_MS) {
        end(`no ACK or NACK for ${ACK_TIMEOUT_MS / 1000} s; connect again`);
      } else if (nowMs >= endsAtMs) {
        end(`this stream has lived for ${Math.round((nowMs - connectedAtMs) / 60_000)} min; connect again`);
      }
    }
  }

  /** Ends the streams of those for whom `refusal` has a reason. */
  endRefused(refusal: (peer: { readonly serial: string; readonly spiffeId: string }) => string | null): void {
    for (const { stream, serial, end } of this.list()) {
      const why = refusal({ serial, spiffeId: stream.spiffeId });
      if (why !== null) end(why);
    }
  }

  /** Ends all streams with UNAVAILABLE; sidecars connect again, or to another control plane. */
  endAll(reason: string): void {
    clearInterval(this.#timer);
    for (const { end } of this.list()) end(reason);
  }
}
