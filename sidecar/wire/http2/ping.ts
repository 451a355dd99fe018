// PINGs of our own (RFC 9113 §6.7): the round trip that windows grow by, and whether the peer still lives. One timer a
// connection, moved once an interval and never by a request; at most one PING is on its way.

import { performance } from 'node:perf_hooks';
import { WheelTimer } from '../../base/timer-wheel.ts';
import type { ByteConnection } from '../socket.ts';
import { threadWheel, type WireTimeouts } from '../timers.ts';
import { pingFrame } from './frames.ts';
import { KEEPALIVE_MS, KEEPALIVE_TIMEOUT_MS, PROBE_EVERY_MS } from './limits.ts';

/** Bounds of an HTTP/2 connection's waits. */
export interface Http2Timeouts extends WireTimeouts {
  /** Quiet, with a stream open, after which the peer is asked whether it lives, in ms; default KEEPALIVE_MS. 0: never. */
  keepaliveMs?: number;
}

/** Told apart from the PING of a drain, and from acknowledgements nobody asked for. */
const OPAQUE = Buffer.from('weftping', 'latin1');

/** What pings need of their connection. */
export interface PingHost {
  readonly socket: ByteConnection;
  /** Whether streams are open: a connection without any is asked nothing. */
  isBusy(): boolean;
  /** A PING came back: meanwhile `bytes` had arrived, within `ms`. */
  onRoundTrip(bytes: number, ms: number): void;
  /** Nothing arrived although we asked. */
  onDead(): void;
}

/** One connection's PINGs. */
export class Pinger {
  /** Of the last PING; -1: none came back yet. */
  rttMs = -1;
  /** Bytes that the peer has sent: any is a sign of life. */
  receivedBytes = 0;
  private readonly host: PingHost;
  private readonly timeouts: Http2Timeouts;
  private readonly timer = new WheelTimer(() => this.host.socket.guard(() => this.onTimer()));
  private isOut = false;
  private isAsking = false;
  private sentMs = Number.NEGATIVE_INFINITY;
  private bytesWhenSent = 0;
  private bytesWhenLooked = 0;

  constructor(host: PingHost, timeouts: Http2Timeouts) {
    this.host = host;
    this.timeouts = timeouts;
  }

  /** Measures a round trip, unless one is being measured or was a moment ago. */
  probe(): void {
    if (this.isOut) return;
    const nowMs = performance.now();
    if (nowMs - this.sentMs < PROBE_EVERY_MS) return;
    this.isOut = true;
    this.sentMs = nowMs;
    this.bytesWhenSent = this.receivedBytes;
    this.host.socket.write(pingFrame(false, OPAQUE));
  }

  /** A stream was opened: from now on the peer must show life. */
  watch(): void {
    if (!this.timer.armed) this.look();
  }

  /** An acknowledgement; says whether it is that of a PING of ours. */
  onAck(opaque: Uint8Array): boolean {
    if (!this.isOut || !OPAQUE.equals(opaque)) return false;
    this.isOut = false;
    this.rttMs = performance.now() - this.sentMs;
    this.host.onRoundTrip(this.receivedBytes - this.bytesWhenSent, this.rttMs);
    return true;
  }

  stop(): void {
    (this.timeouts.wheel ?? threadWheel()).cancel(this.timer);
  }

  private look(): void {
    const keepaliveMs = this.timeouts.keepaliveMs ?? KEEPALIVE_MS;
    if (keepaliveMs === 0) return;
    this.isAsking = false;
    this.bytesWhenLooked = this.receivedBytes;
    this.arm(keepaliveMs);
  }

  private onTimer(): void {
    // The next stream arms it again.
    if (!this.host.isBusy()) return;
    if (this.receivedBytes !== this.bytesWhenLooked) return this.look();
    if (this.isAsking) return this.host.onDead();
    this.isAsking = true;
    this.probe();
    this.arm(KEEPALIVE_TIMEOUT_MS);
  }

  private arm(delayMs: number): void {
    (this.timeouts.wheel ?? threadWheel()).arm(this.timer, delayMs);
  }
}
