// The life of one request between two streams: a bounded loop of attempts towards upstream, then bytes both ways
// with backpressure, then `finish`, exactly once. The exchange faces the caller, each attempt faces one endpoint.
// Nothing is committed to the caller before an attempt has answered, so until then another attempt is invisible.

import { threadHeld } from '../base/held.ts';
import { LIMITS } from '../base/limits.ts';
import { ProxyError } from '../wire/error.ts';
import type { HeaderList } from '../wire/headers.ts';
import { headerValue } from '../wire/headers.ts';
import { slabOf } from '../wire/slab.ts';
import type { Head, HttpStream, StreamEvents } from '../wire/stream.ts';

/** What the attempt loop needs to know of the world; one per route, compiled when config changes. */
export interface AttemptPolicy {
  /** Starts attempt `number` (0-based) by asking a pool for a stream; its outcome comes as `onStream` or `onOpenFailed`. Null: no endpoint, or limits are full; the error says which. */
  start(attempt: Attempt, head: Head, number: number): ProxyError | null;
  /** The request's last byte has come, in the head's own call or later: from here on an answer is due. */
  onRequestEnd(): void;
  /** Whether, and after how many ms, another attempt may follow this failure; -1: not. Takes from the retry budget. */
  retryAfterMs(head: Head, error: ProxyError, number: number): number;
  /**
   * Whether this response head counts as a failure to be retried (a policy says so), as an error, else null: it is relayed.
   * @param kept whether the request could be sent again: all of its bytes are still here.
   */
  judge(head: Head, kept: boolean): ProxyError | null;
  /** This response head goes to the caller: the last look at it. */
  commit(head: Head): void;
  /** Runs `callback` after `delayMs`; the result cancels it. */
  schedule(delayMs: number, callback: () => void): () => void;
  /** Writes the local reply for an error; called only when no response head was written. */
  respond(downstream: HttpStream, request: Head, error: ProxyError): void;
  /** Exactly once, last: releases guards, counts, logs. */
  finish(exchange: Exchange): void;
}

/** Decides about a request at its head; `end`: it has no body. */
export type Begin = (exchange: Exchange, head: Head, end: boolean) => AttemptPolicy | null;

/** One request from its head to its end. Create it as the server stream's events, give it a policy by `begin`. */
export class Exchange implements StreamEvents {
  readonly downstream: HttpStream;
  request: Head | null = null;
  response: Head | null = null;
  /** Why it failed; null when a whole response was relayed. */
  error: ProxyError | null = null;
  attempts = 0;
  /** What the response's trailers, or its only head, say; -1: nothing. */
  grpcStatus = -1;
  requestBytes = 0;
  responseBytes = 0;
  private policy: AttemptPolicy | null = null;
  /** The one under way. */
  attempt: Attempt | null = null;
  private readonly begin: Begin;
  /** The request's body so far, kept while another attempt is possible; null once it is too large or committed. */
  private replay: Uint8Array[] | null = [];
  private trailers: HeaderList | null = null;
  requestEnded = false;
  private cancelRetry: (() => void) | null = null;
  private finished = false;
  /** The upstream of a tunnel has ended its side; the caller's still flows. */
  private halfClosed = false;

  /** @param begin routes the head: the policy to follow, or null when it has answered by itself. */
  constructor(downstream: HttpStream, begin: Begin) {
    this.downstream = downstream;
    this.begin = begin;
  }

  onHead(head: Head, end: boolean): void {
    this.request = head;
    this.requestEnded = end;
    this.policy = this.begin(this, head, end);
    if (this.policy !== null) this.tryOnce();
    else this.dropReplay(); // Answered already: what else the caller sends is dropped.
  }

  onData(chunk: Uint8Array, end: boolean): void {
    this.requestBytes += chunk.length;
    if (end) this.endRequest();
    const upstream = this.attempt === null ? null : this.attempt.stream;
    if (this.replay !== null) {
      this.replay.push(chunk);
      threadHeld.add(chunk.length);
      if (this.requestBytes > LIMITS.replayBytesMax && upstream !== null) this.passReplay();
    } else if (upstream !== null) this.pass(chunk);
    if (upstream !== null) {
      if (!upstream.writeData(chunk, end)) this.downstream.pause();
      if (end && this.halfClosed) this.onTunnelEnd();
    } else if (this.requestBytes > LIMITS.replayBytesMax) {
      this.downstream.pause(); // Nobody takes it yet: hold the caller, not its bytes.
    }
  }

  onEnd(trailers: HeaderList | null): void {
    this.endRequest();
    this.trailers = trailers;
    this.attempt?.stream?.writeEnd(trailers);
    if (this.halfClosed) this.onTunnelEnd();
  }

  private endRequest(): void {
    this.requestEnded = true;
    if (!this.finished && this.response === null) this.policy?.onRequestEnd();
  }

  onDrain(): void {
    this.attempt?.stream?.resume();
  }

  onReset(error: ProxyError): void {
    this.end(error);
  }

  /** Ends the exchange from outside: a timeout, a shutdown, a policy. */
  abort(error: ProxyError): void {
    if (this.finished) return;
    if (this.response === null && this.request !== null && this.policy !== null) {
      this.policy.respond(this.downstream, this.request, error);
    } else {
      this.downstream.reset(error);
    }
    this.end(error);
  }

  /** The caller has got all that it gets, though the response goes on: upstream stops, and nothing has failed. Not for a local reply. */
  discard(): void {
    if (this.finished || this.response === null) return;
    const attempt = this.attempt;
    this.attempt = null;
    attempt?.abandon(RESPONSE_COMPLETE);
    this.finish();
  }

  private tryOnce(): void {
    this.cancelRetry = null;
    const policy = this.policy as AttemptPolicy;
    const attempt = new Attempt(this);
    this.attempt = attempt;
    const error = policy.start(attempt, this.request as Head, this.attempts++);
    if (error !== null) this.onAttemptFailed(attempt, error);
  }

  /** An attempt has its stream: everything the caller sent so far goes out. */
  onAttemptStream(attempt: Attempt, stream: HttpStream): void {
    if (attempt !== this.attempt) return;
    const chunks = this.replay as Uint8Array[];
    const bare = chunks.length === 0 && this.trailers === null;
    stream.writeHead(this.request as Head, bare && this.requestEnded);
    let room = true;
    for (let i = 0; i < chunks.length; i++) {
      const last = i === chunks.length - 1 && this.requestEnded && this.trailers === null;
      room = stream.writeData(chunks[i] as Uint8Array, last);
    }
    if (this.trailers !== null) stream.writeEnd(this.trailers);
    if (this.requestBytes > LIMITS.replayBytesMax) this.passReplay();
    if (room && !this.requestEnded) this.downstream.resume();
  }

  onAttemptHead(attempt: Attempt, head: Head, end: boolean): void {
    if (attempt !== this.attempt) return;
    const policy = this.policy as AttemptPolicy;
    if (head.status < 200 && head.status !== 101) {
      this.downstream.writeHead(head, false);
      return;
    }
    const failure = policy.judge(head, this.replay !== null);
    if (failure !== null) {
      const delayMs = policy.retryAfterMs(this.request as Head, failure, this.attempts - 1);
      if (delayMs >= 0) {
        attempt.stream?.reset(new ProxyError('cancelled', 'local', 'another attempt follows'));
        this.retryIn(delayMs);
        return;
      }
    }
    this.response = head;
    this.passReplay();
    policy.commit(head);
    if (end) this.grpcStatus = grpcStatusOf(head.headers);
    this.downstream.writeHead(head, end);
    if (end) this.onResponseEnd(attempt);
  }

  onAttemptData(attempt: Attempt, chunk: Uint8Array, end: boolean): void {
    if (attempt !== this.attempt) return;
    this.responseBytes += chunk.length;
    if (this.downstream.isDirect && attempt.stream?.events === attempt) slabOf(chunk)?.notePassed(chunk.length);
    if (!this.downstream.writeData(chunk, end) && !end) attempt.stream?.pause();
    if (end) this.onResponseEnd(attempt);
  }

  onAttemptEnd(attempt: Attempt, trailers: HeaderList | null): void {
    if (attempt !== this.attempt) return;
    if (trailers !== null) this.grpcStatus = grpcStatusOf(trailers);
    this.downstream.writeEnd(trailers);
    this.onResponseEnd(attempt);
  }

  onAttemptDrain(attempt: Attempt): void {
    if (attempt === this.attempt && !this.requestEnded) this.downstream.resume();
  }

  onAttemptFailed(attempt: Attempt, error: ProxyError): void {
    if (attempt !== this.attempt || this.finished) return;
    attempt.stream = null;
    if (this.response === null && this.replay !== null) {
      const delayMs = (this.policy as AttemptPolicy).retryAfterMs(this.request as Head, error, this.attempts - 1);
      if (delayMs >= 0) {
        this.retryIn(delayMs);
        return;
      }
    }
    this.attempt = null;
    this.abort(error);
  }

  /** RFC 9110 §9.3.6 and §7.8: after these heads bytes flow both ways until each side has ended. */
  private isTunnel(): boolean {
    const { request, response } = this;
    if (request === null || response === null) return false;
    return response.status === 101 || (request.method === 'CONNECT' && response.status < 300);
  }

  private onTunnelEnd(): void {
    this.attempt = null;
    this.finish();
  }

  private retryIn(delayMs: number): void {
    this.attempt = null;
    this.cancelRetry = (this.policy as AttemptPolicy).schedule(delayMs, () => this.tryOnce());
  }

  /** The response is whole. A request that still flows is cancelled: nobody will read it. A tunnel has two ends. */
  private onResponseEnd(attempt: Attempt): void {
    this.halfClosed = !this.requestEnded && this.isTunnel();
    if (this.halfClosed) return;
    this.attempt = null;
    if (!this.requestEnded) attempt.stream?.reset(RESPONSE_COMPLETE);
    this.finish();
  }

  private end(error: ProxyError): void {
    if (this.finished) return;
    this.error = error;
    this.cancelRetry?.();
    const attempt = this.attempt;
    this.attempt = null;
    attempt?.abandon(error);
    this.finish();
  }

  /** A part of the request goes to upstream, and is kept by nobody between the two connections. */
  private pass(chunk: Uint8Array): void {
    if (this.downstream.isDirect && this.downstream.events === this) slabOf(chunk)?.notePassed(chunk.length);
  }

  /** No other attempt will need what the first one was given. What two were given is written twice: it is left to the garbage collector. */
  private passReplay(): void {
    if (this.replay !== null && this.attempts === 1) for (const chunk of this.replay) this.pass(chunk);
    this.dropReplay();
  }

  /** No other attempt will need them. */
  private dropReplay(): void {
    const chunks = this.replay;
    if (chunks === null) return;
    for (let i = 0; i < chunks.length; i++) threadHeld.add(-(chunks[i] as Uint8Array).length);
    this.replay = null;
  }

  private finish(): void {
    if (this.finished) return;
    this.finished = true;
    this.dropReplay();
    this.policy?.finish(this);
  }
}

/** What hands out streams, in its own time. */
export interface StreamQueue {
  /** Takes a waiting attempt back; false when it has its stream or its error already. */
  cancel(attempt: Attempt): boolean;
}

/** One try at one endpoint: what the upstream codec and the pool talk to. Events of an abandoned attempt go nowhere. */
export class Attempt implements StreamEvents {
  stream: HttpStream | null = null;
  reused = false;
  /** The pool in which it still waits; set by `AttemptPolicy.start`. */
  waitsIn: StreamQueue | null = null;
  private readonly exchange: Exchange;

  constructor(exchange: Exchange) {
    this.exchange = exchange;
  }

  onStream(stream: HttpStream, reused: boolean): void {
    this.stream = stream;
    this.reused = reused;
    this.waitsIn = null;
    this.exchange.onAttemptStream(this, stream);
  }

  onOpenFailed(error: ProxyError): void {
    this.waitsIn = null;
    this.exchange.onAttemptFailed(this, error);
  }

  onHead(head: Head, end: boolean): void {
    this.exchange.onAttemptHead(this, head, end);
  }

  onData(chunk: Uint8Array, end: boolean): void {
    this.exchange.onAttemptData(this, chunk, end);
  }

  onEnd(trailers: HeaderList | null): void {
    this.exchange.onAttemptEnd(this, trailers);
  }

  onDrain(): void {
    this.exchange.onAttemptDrain(this);
  }

  onReset(error: ProxyError): void {
    this.exchange.onAttemptFailed(this, error);
  }

  /** Gives up: a waiting request is withdrawn, a stream under way is reset so that upstream stops at once. */
  abandon(error: ProxyError): void {
    this.waitsIn?.cancel(this);
    this.waitsIn = null;
    const stream = this.stream;
    this.stream = null;
    stream?.reset(error);
  }
}

/** gRPC over HTTP/2, "Responses": `grpc-status` in decimal; -1 without one, 2 (UNKNOWN) when it is no number. */
function grpcStatusOf(headers: HeaderList): number {
  const text = headerValue(headers, 'grpc-status');
  if (text === undefined) return -1;
  const status = Number(text);
  return Number.isInteger(status) && status >= 0 ? status : 2;
}

/** RFC 9113 §8.1: a server that answered early asks the client to stop with NO_ERROR; the same holds towards upstream. */
const RESPONSE_COMPLETE = new ProxyError('cancelled', 'local', 'the response was complete', 'no', null, 0);
