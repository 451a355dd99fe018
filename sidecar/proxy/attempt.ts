// How one request tries: which endpoint, how long, and whether again. Every guard it takes is given back exactly
// once, in `finish`; what an endpoint did is told to its health as soon as it is known.

import type { Clock } from '../base/clock.ts';
import { LIMITS } from '../base/limits.ts';
import type { Random } from '../base/random.ts';
import { type TimerWheel, WheelTimer } from '../base/timer-wheel.ts';
import { TCP_RULE } from '../config/snapshot.ts';
import { applyHeaderEdit } from '../filters/header-edit/run.ts';
import { backoffMs } from '../upstream/backoff.ts';
import type { Guard } from '../upstream/budget.ts';
import type { Cluster, Endpoint } from '../upstream/cluster.ts';
import type { Verdict } from '../upstream/outlier.ts';
import { ProxyError } from '../wire/error.ts';
import { headerValue, removeHeader } from '../wire/headers.ts';
import type { Head, HttpStream } from '../wire/stream.ts';
import type { Attempt, AttemptPolicy, Exchange } from './relay.ts';
import { respond } from './respond.ts';
import { retryAfterMs } from './retry-after.ts';
import type { CompiledRule } from './route.ts';

/** What every request of a worker shares. */
export interface AttemptContext {
  clock: Clock;
  wheel: TimerWheel;
  random: Random;
  /** Whether callers may read an error's detail: true towards the own application. */
  expose: boolean;
  /** Runs last, once a request: metrics, log, span. */
  onFinish(exchange: Exchange): void;
}

/** RFC 9110 §9.2.2: sending these twice has the effect of sending them once. */
const IDEMPOTENT: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE', 'PUT', 'DELETE']);

const GRPC_UNAVAILABLE = '14';

/** Looks for moved bytes in an idle time: it is never shorter than it says, and longer by a quarter at most. */
const IDLE_LOOKS = 4;

/** The plan of one request towards one cluster. */
export class RequestPlan implements AttemptPolicy {
  private readonly context: AttemptContext;
  private readonly exchange: Exchange;
  private readonly cluster: Cluster;
  private readonly rule: CompiledRule;
  private readonly labels: readonly string[];
  private readonly requestGuard: Guard;
  private retryGuard: Guard | null = null;
  /** The one tried last, for the log. */
  endpoint: Endpoint | null = null;
  private isProbe = false;
  /** The endpoint's place is taken and its verdict is still due. */
  private counted = false;
  /** Set when a response head was refused by `judge`: policy allowed the retry already. */
  private judged = false;
  /** What that head asks to wait, in ms. */
  private retryAfter = 0;
  /** Watches for quiet while the request flows, then waits for the response head, then watches again: armed once in most requests. */
  private readonly timer: WheelTimer;
  /** When the timer is due; it may fire before, and is then armed for the rest. */
  private dueMs = 0;
  private awaitsHead = false;
  private tryTimer: WheelTimer | null = null;
  private bytesAtIdleCheck = -1;
  /** Looks in a row that found nothing moved. */
  private quietLooks = 0;

  constructor(
    context: AttemptContext,
    exchange: Exchange,
    cluster: Cluster,
    rule: CompiledRule,
    labels: readonly string[],
  ) {
    this.context = context;
    this.exchange = exchange;
    this.cluster = cluster;
    this.rule = rule;
    this.labels = labels;
    this.requestGuard = cluster.budget.acquireRequest();
    this.timer = new WheelTimer(() => this.onTimer());
    if (exchange.requestEnded) this.awaitHead();
    else this.watchIdle();
  }

  onRequestEnd(): void {
    this.awaitHead();
    const { attempt } = this.exchange;
    if (attempt !== null && this.rule.perTryTimeoutMs > 0) this.armTry(attempt);
  }

  start(attempt: Attempt, _head: Head, number: number): ProxyError | null {
    const { cluster } = this;
    if (number === 0 && cluster.budget.requests.total > cluster.requestsMax) {
      return new ProxyError(
        'overflow',
        'local',
        `more than ${cluster.requestsMax} requests under way (connection_pool.requests_max)`,
      );
    }
    const nowMs = this.context.clock.nowMs();
    const endpoint = cluster.pick(this.labels, nowMs, this.endpoint);
    if (endpoint === null) {
      return new ProxyError('noEndpoint', 'local', cluster.whyNone(this.labels));
    }
    if (!endpoint.pool.request(attempt)) {
      return new ProxyError(
        'overflow',
        'local',
        `too many requests wait for ${endpoint.name} (connection_pool.pending_requests_max)`,
      );
    }
    attempt.waitsIn = endpoint.pool;
    this.endpoint = endpoint;
    this.isProbe = endpoint.health.begin(nowMs);
    if (this.isProbe) cluster.observer.onHealth(endpoint, 'probing');
    endpoint.inFlight++;
    this.counted = true;
    if (this.rule.perTryTimeoutMs > 0 && this.exchange.requestEnded) this.armTry(attempt);
    return null;
  }

  judge(head: Head, kept: boolean): ProxyError | null {
    this.disarm(this.tryTimer);
    const unavailable = headerValue(head.headers, 'grpc-status') === GRPC_UNAVAILABLE;
    this.settle(head.status >= 500 || unavailable ? 'failure' : 'success');
    const { retry } = this.rule;
    const gateway = head.status === 502 || head.status === 503 || head.status === 504;
    const flag = head.status === 503 || unavailable ? this.flagOf(head) : undefined;
    const unsent = flag === 'UF' || flag === 'UH' || flag === 'OM';
    // The application broke off: its sidecar answers in its place, and to the caller it is the same.
    const broken = flag === 'UC' && retry.onReset;
    const limited = head.status === 429 && retry.onRateLimited;
    const unwanted = (gateway && retry.onGatewayError) || (unavailable && retry.onUnavailable) || broken || limited;
    this.judged = kept && ((unsent && retry.onConnectFailure) || (unwanted && this.mayRepeat()));
    if (this.judged) this.retryAfter = retryAfterMs(headerValue(head.headers, 'retry-after'), Date.now());
    if (this.judged) return new ProxyError('unavailable', 'upstream', `answered ${head.status}`, unsent ? 'yes' : 'no');
    this.watchIdle();
    return null;
  }

  retryAfterMs(_head: Head, error: ProxyError, number: number): number {
    this.disarm(this.tryTimer);
    if (!this.judged) this.settle(verdictOf(error));
    if (error.kind === 'connectFailed' || error.kind === 'connectTimeout' || error.kind === 'tlsFailed') {
      this.cluster.observer.onConnectFailed();
    }
    const { retry } = this.rule;
    if (number >= retry.attempts || !this.isRetryable(error)) return this.giveUp();
    const askedMs = this.judged ? this.retryAfter : 0;
    // On top of what was asked for, so that all who were told the same do not come back together.
    const waitMs = askedMs + backoffMs(number, this.context.random, retry.backoffBaseMs, retry.backoffMaxMs);
    // Who would answer too late is not asked again, and the caller reads the Retry-After itself.
    if (askedMs > 0 && waitMs >= this.leftMs()) return this.giveUp();
    this.retryGuard?.release();
    this.retryGuard = null;
    // What no upstream has processed adds no work by being sent again: it needs no budget (gRPC's transparent retry, gRFC A6).
    if (error.retry !== 'yes') {
      this.retryGuard = this.cluster.budget.tryAcquireRetry();
      if (this.retryGuard === null) return this.giveUp();
    }
    this.judged = false;
    return waitMs;
  }

  commit(head: Head): void {
    const { responseHeaders } = this.rule.filters;
    if (responseHeaders !== null) applyHeaderEdit(responseHeaders, head.headers);
  }

  schedule(delayMs: number, callback: () => void): () => void {
    const timer = new WheelTimer(callback);
    this.context.wheel.arm(timer, delayMs);
    return () => this.context.wheel.cancel(timer);
  }

  respond(downstream: HttpStream, request: Head, error: ProxyError): void {
    respond(downstream, request, error, this.context.expose);
  }

  finish(exchange: Exchange): void {
    this.disarm(this.timer);
    this.disarm(this.tryTimer);
    this.settle('unknown');
    this.requestGuard.release();
    this.retryGuard?.release();
    this.context.onFinish(exchange);
  }

  /** A response that policy would have retried and may not be is relayed: from here on only the idle timeout holds. */
  private giveUp(): number {
    if (this.judged) {
      this.judged = false;
      this.watchIdle();
    }
    return -1;
  }

  /** Until the response head is due; without a timeout, or while the request still streams, as long as a retry may wait at all. */
  private leftMs(): number {
    const { requestTimeoutMs } = this.rule;
    if (requestTimeoutMs === 0) return LIMITS.retryAfterMaxMs;
    const leftMs = this.awaitsHead ? this.dueMs - this.context.clock.nowMs() : requestTimeoutMs;
    return Math.min(leftMs, LIMITS.retryAfterMaxMs);
  }

  private isRetryable(error: ProxyError): boolean {
    const { retry } = this.rule;
    if (this.judged) return true;
    if (error.retry === 'yes') return retry.onConnectFailure;
    if (!this.mayRepeat()) return false;
    return error.retry === 'reusedOnly' || (retry.onReset && error.source === 'upstream');
  }

  /** Slow path: a failure. What the receiver's sidecar says became of the request. */
  private flagOf(head: Head): string | undefined {
    const flag = headerValue(head.headers, 'x-weft-error');
    if (flag === undefined || this.endpoint?.behindSidecar) return flag;
    // No application speaks in a sidecar's name.
    removeHeader(head.headers, 'x-weft-error');
    return undefined;
  }

  private mayRepeat(): boolean {
    return this.rule.retry.nonIdempotent || IDEMPOTENT.has(this.exchange.request?.method ?? '');
  }

  /** Tells the endpoint's health how it did and gives its place back; once an attempt, later calls do nothing. */
  private settle(verdict: Verdict): void {
    const endpoint = this.endpoint;
    if (endpoint === null || !this.counted) return;
    this.counted = false;
    endpoint.inFlight--;
    const change = endpoint.health.record(verdict, this.isProbe, this.context.clock.nowMs());
    if (change !== null) this.cluster.observer.onHealth(endpoint, change);
  }

  private armTry(attempt: Attempt): void {
    const { perTryTimeoutMs, name } = this.rule;
    this.tryTimer = new WheelTimer(() => {
      const detail = `no response head within ${perTryTimeoutMs} ms (timeouts.per_try of ${name})`;
      const error = new ProxyError('perTryTimeout', 'upstream', detail);
      attempt.abandon(error);
      this.exchange.onAttemptFailed(attempt, error);
    });
    this.context.wheel.arm(this.tryTimer, perTryTimeoutMs);
  }

  /** A caller that streams its request decides itself how long that takes; an answer is due once it has ended (Envoy). */
  private awaitHead(): void {
    const { requestTimeoutMs } = this.rule;
    this.awaitsHead = true;
    this.disarm(this.timer);
    if (requestTimeoutMs === 0) return;
    this.dueMs = this.context.clock.nowMs() + requestTimeoutMs;
    this.context.wheel.arm(this.timer, requestTimeoutMs);
  }

  /** From here on only quiet ends the exchange. */
  private watchIdle(): void {
    const { idleTimeoutMs } = this.rule;
    this.awaitsHead = false;
    if (idleTimeoutMs === 0) {
      this.disarm(this.timer);
      return;
    }
    this.bytesAtIdleCheck = this.exchange.requestBytes + this.exchange.responseBytes;
    this.quietLooks = 0;
    this.lookAgain();
  }

  private lookAgain(): void {
    const afterMs = Math.ceil(this.rule.idleTimeoutMs / IDLE_LOOKS);
    const dueMs = this.context.clock.nowMs() + afterMs;
    // A timer that fires before is left alone: most requests are over by then.
    if (!this.timer.armed || dueMs < this.dueMs) this.context.wheel.arm(this.timer, afterMs);
    this.dueMs = dueMs;
  }

  private onTimer(): void {
    const { idleTimeoutMs, requestTimeoutMs, name } = this.rule;
    if (this.awaitsHead) {
      const detail = `no response head within ${requestTimeoutMs} ms (timeouts.request of ${name})`;
      const error = new ProxyError('requestTimeout', 'upstream', detail);
      // An endpoint that hangs fails no attempt by itself.
      this.settle(verdictOf(error));
      this.exchange.abort(error);
      return;
    }
    const leftMs = this.dueMs - this.context.clock.nowMs();
    if (leftMs > 0) {
      this.context.wheel.arm(this.timer, leftMs);
      return;
    }
    // Looks now and then whether a byte moved, instead of touching the wheel with every chunk.
    const bytes = this.exchange.requestBytes + this.exchange.responseBytes;
    if (bytes !== this.bytesAtIdleCheck) {
      this.watchIdle();
    } else if (++this.quietLooks < IDLE_LOOKS) {
      this.lookAgain();
    } else {
      const setting = name === TCP_RULE.name ? 'idle_timeout of the port' : `timeouts.idle of ${name}`;
      const detail = `no byte moved for ${idleTimeoutMs} ms (${setting})`;
      this.exchange.abort(new ProxyError('idleTimeout', 'upstream', detail));
    }
  }

  private disarm(timer: WheelTimer | null): void {
    if (timer?.armed) this.context.wheel.cancel(timer);
  }
}

/** What a failure says of the endpoint: a refused stream or a full pool says nothing of its health. */
function verdictOf(error: ProxyError): Verdict {
  return error.source === 'upstream' && error.kind !== 'refused' ? 'failure' : 'unknown';
}
