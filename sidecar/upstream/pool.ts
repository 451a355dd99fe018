// Connections to one endpoint from one worker. A pool hands out streams, whatever the protocol: an HTTP/1
// connection carries one at a time, an HTTP/2 connection as many as its peer allows. Waiting is bounded by the
// Service's limits, and a request that gives up while waiting leaves no trace.

import type { Clock } from '../base/clock.ts';
import { type TimerWheel, WheelTimer } from '../base/timer-wheel.ts';
import { ProxyError } from '../wire/error.ts';
import type { HttpStream, StreamEvents } from '../wire/stream.ts';

/** A request that wants a stream: it hears exactly one of the two, never inside `request()` itself. */
export interface StreamRequester extends StreamEvents {
  /** @param reused the connection has carried a request before, so it may be closing right now (the keep-alive race). */
  onStream(stream: HttpStream, reused: boolean): void;
  onOpenFailed(error: ProxyError): void;
}

/** What a client codec offers a pool; both HTTP/1 and HTTP/2 connections have this face. */
export interface PooledConnection {
  /** Another stream fits right now. */
  readonly hasRoom: boolean;
  /** Streams under way. */
  readonly activeStreams: number;
  open(events: StreamEvents): HttpStream | null;
  /** Lets streams under way finish, then closes. */
  close(): void;
}

/** What a connection tells its pool. */
export interface ConnectionObserver {
  onReady(connection: PooledConnection): void;
  /** A stream ended, so there may be room. */
  onRoom(): void;
  /** Before onReady: the attempt to connect failed. After: the connection is gone. */
  onGone(error: ProxyError | null): void;
}

/** Starts one connection to the pool's endpoint; TCP or TLS and the codec are the caller's choice. Returns what abandons it. */
export type Connect = (observer: ConnectionObserver) => () => void;

/** Limits of one pool; from the Service's `connection_pool`. */
export interface PoolLimits {
  connectionsMax: number;
  pendingRequestsMax: number;
  /** Requests that one new connection is expected to serve while it is being made: 1 on HTTP/1, the stream limit on HTTP/2. */
  requestsPerConnection: number;
  /** A connection without a stream for this long is closed; 0: never. */
  idleTimeoutMs: number;
}

/** What measures idleness; one wheel a thread. */
export interface PoolTime {
  readonly clock: Clock;
  readonly wheel: TimerWheel;
}

interface Member {
  connection: PooledConnection | null;
  /** Requests this connection has been given. */
  served: number;
  /** When its last stream ended. */
  idleSinceMs: number;
  abandon: () => void;
}

/** The streams of one endpoint. State that outlives a config change: limits are replaced, connections stay. */
export class Pool {
  limits: PoolLimits;
  private readonly connect: Connect;
  private members: Member[] = [];
  private waiting: StreamRequester[] = [];
  private serveArmed = false;
  private closed = false;
  private readonly time: PoolTime;
  private readonly idleTimer: WheelTimer;

  constructor(connect: Connect, limits: PoolLimits, time: PoolTime) {
    this.connect = connect;
    this.limits = limits;
    this.time = time;
    this.idleTimer = new WheelTimer(() => this.closeIdle());
  }

  /** Streams under way on all connections. */
  get activeStreams(): number {
    let sum = 0;
    for (const member of this.members) sum += member.connection === null ? 0 : member.connection.activeStreams;
    return sum;
  }

  get pendingRequests(): number {
    return this.waiting.length;
  }

  get connections(): number {
    return this.members.length;
  }

  /** Asks for a stream. False: too many wait already (`overflow`), and the requester hears nothing. */
  request(requester: StreamRequester): boolean {
    if (this.closed || this.waiting.length >= this.limits.pendingRequestsMax) return false;
    this.waiting.push(requester);
    this.armServe();
    return true;
  }

  /** Takes a waiting request back; false when it already has its stream or its error. */
  cancel(requester: StreamRequester): boolean {
    const at = this.waiting.indexOf(requester);
    if (at < 0) return false;
    this.waiting.splice(at, 1);
    return true;
  }

  /** Refuses new requests, fails those that wait, and lets streams under way finish. */
  close(): void {
    this.closed = true;
    this.time.wheel.cancel(this.idleTimer);
    this.failWaiting(new ProxyError('unavailable', 'local', 'the endpoint was withdrawn', 'yes'));
    for (const member of this.members.slice()) {
      if (member.connection === null) member.abandon();
      else member.connection.close();
    }
  }

  /** Serving waits for a microtask so that a requester never hears of its stream inside its own call. */
  private armServe(): void {
    if (this.serveArmed) return;
    this.serveArmed = true;
    queueMicrotask(this.serve);
  }

  private readonly serve = (): void => {
    this.serveArmed = false;
    while (this.waiting.length > 0) {
      const member = this.pick();
      if (member === null) break;
      const requester = this.waiting[0] as StreamRequester;
      const stream = (member.connection as PooledConnection).open(requester);
      if (stream === null) break; // It lost its room between the look and the call; onRoom or onGone comes.
      this.waiting.shift();
      requester.onStream(stream, member.served++ > 0);
    }
    if (this.waiting.length > 0) this.grow();
  };

  /** The most recently used connection that has room: the others grow idle and can be closed. */
  private pick(): Member | null {
    for (let i = this.members.length - 1; i >= 0; i--) {
      const member = this.members[i] as Member;
      if (member.connection?.hasRoom) return member;
    }
    return null;
  }

  /** As many new connections as the waiting requests need beyond those being made. */
  private grow(): void {
    let connecting = 0;
    for (const member of this.members) if (member.connection === null) connecting++;
    let wanted = Math.ceil(this.waiting.length / this.limits.requestsPerConnection) - connecting;
    while (wanted-- > 0 && this.members.length < this.limits.connectionsMax && !this.closed) this.dial();
  }

  private dial(): void {
    const member: Member = { connection: null, served: 0, idleSinceMs: 0, abandon: () => {} };
    this.members.push(member);
    member.abandon = this.connect({
      onReady: (connection) => {
        member.connection = connection;
        if (this.closed) connection.close();
        else this.onRoom(member);
      },
      onRoom: () => this.onRoom(member),
      onGone: (error) => this.onGone(member, error),
    });
  }

  private onRoom(member: Member): void {
    member.idleSinceMs = this.time.clock.nowMs();
    const { idleTimeoutMs } = this.limits;
    if (idleTimeoutMs > 0 && !this.idleTimer.armed && !this.closed) this.time.wheel.arm(this.idleTimer, idleTimeoutMs);
    if (this.waiting.length > 0) this.armServe();
  }

  /** Closes what has been idle long enough, and looks again when the next may be. */
  private closeIdle(): void {
    const nowMs = this.time.clock.nowMs();
    const { idleTimeoutMs } = this.limits;
    let nextMs = idleTimeoutMs;
    let rest = 0;
    for (const member of this.members.slice()) {
      if (member.connection === null) continue;
      const leftMs = member.connection.activeStreams > 0 ? idleTimeoutMs : member.idleSinceMs + idleTimeoutMs - nowMs;
      if (leftMs <= 0) {
        member.connection.close();
      } else {
        rest++;
        nextMs = Math.min(nextMs, leftMs);
      }
    }
    if (rest > 0) this.time.wheel.arm(this.idleTimer, nextMs);
  }

  private onGone(member: Member, error: ProxyError | null): void {
    const at = this.members.indexOf(member);
    if (at >= 0) this.members.splice(at, 1);
    // A failed dial fails those that could only have been served by it; the caller picks another endpoint.
    if (member.connection === null && error !== null && this.pick() === null) this.failWaiting(error);
    else if (this.waiting.length > 0) this.armServe();
  }

  private failWaiting(error: ProxyError): void {
    const waiting = this.waiting;
    this.waiting = [];
    for (const requester of waiting) requester.onOpenFailed(error);
  }
}
