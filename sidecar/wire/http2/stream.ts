// One HTTP/2 stream in either role: what waits to be sent, what waits to be delivered, and its two windows. It
// decides nothing about the connection; session.ts does.

import assert from 'node:assert/strict';
import { threadHeld } from '../../base/held.ts';
import type { ProxyError } from '../error.ts';
import type { HeaderList } from '../headers.ts';
import type { Head, HttpStream, StreamEvents } from '../stream.ts';
import { STREAM_QUEUE_BYTES } from './limits.ts';
import { resetCode } from './reset-codes.ts';
import type { Priority } from './send-queue.ts';

/** What a stream needs of its connection. */
export interface StreamHost {
  sendHead(stream: Http2Stream, head: Head, end: boolean): void;
  /** Sends what windows and socket allow of the stream's queue. */
  pump(stream: Http2Stream): void;
  sendReset(stream: Http2Stream, code: number): void;
  /** `bytes` of DATA were read or dropped: the peer may send as many again on the stream. */
  consumed(stream: Http2Stream, bytes: number): void;
  /** `bytes` more wait in a paused stream; negative when they wait no longer. */
  held(bytes: number): void;
  /** A receiver threw: the connection ends, the worker lives. */
  contain(error: Error): void;
}

/** Receives nothing: the events of a stream nobody has taken yet, or any longer. */
export const NO_EVENTS: StreamEvents = { onHead() {}, onData() {}, onEnd() {}, onDrain() {}, onReset() {} };

/** Most streams never queue a chunk, so their lists are made with the first. Nothing is ever added to this one. */
const NO_CHUNKS: Uint8Array[] = [];

/** A stream; public fields are the session's bookkeeping. */
export class Http2Stream implements HttpStream {
  readonly isDirect = true;
  events: StreamEvents;
  readonly id: number;
  /** Its response has no body whatever content-length says. */
  isHeadRequest = false;
  /** Bytes we may send; negative after the peer shrank its initial window (RFC 9113 §6.9.2). */
  sendWindow: number;
  /** Bytes the peer may send. */
  receiveWindow: number;
  unreported = 0;
  /** Body bytes still to come by content-length; -1 unknown. */
  expectedBytes = -1;
  /** `expectedBytes` when `pace` last looked; -1: it has not. */
  pacedBytes = -1;
  /** DATA bytes that went out since `dropStalled` last looked, and how often in a row it saw too few. */
  sentBytes = 0;
  stalledLooks = 0;
  /** A plain CONNECT of a caller: both ends may rest for as long as the idle time of its port. */
  isOpaque = false;
  /** Informational heads so far. */
  interimHeads = 0;
  /** The :protocol of an Upgrade that is sent as extended CONNECT (RFC 8441), whose 2xx its owner hears as 101. */
  upgrade = '';
  /** CONNECT, unless it was refused: each side ends for itself. */
  isConnect = false;
  headReceived = false;
  headSent = false;
  /** A final response head was sent. */
  isAnswered = false;
  /** The head was written and waits for the peer's settings, and with it all that follows. */
  headHeld = false;
  remoteEnded = false;
  /** END_STREAM was sent. */
  localEnded = false;
  /** Nothing more is sent or delivered. */
  dead = false;
  queue: Uint8Array[] = NO_CHUNKS;
  queuedBytes = 0;
  endQueued = false;
  trailers: HeaderList | null = null;
  wantsDrain = false;
  /** Of a request, for its `priority` field; null: no turn is asked for. */
  requestFields: HeaderList | null = null;
  /** Read when the stream must wait for the first time, or from PRIORITY_UPDATE. */
  priority: Priority | null = null;
  /** It is in the send queue. */
  isWaiting = false;
  private readonly host: StreamHost;
  private inbox: Uint8Array[] = NO_CHUNKS;
  private inboxEnd = false;
  private inboxTrailers: HeaderList | null = null;
  private inboxReset: ProxyError | null = null;
  /** The reader takes nothing for now. */
  paused = false;
  private waking = false;

  constructor(host: StreamHost, id: number, events: StreamEvents, sendWindow: number, receiveWindow: number) {
    this.host = host;
    this.id = id;
    this.events = events;
    this.sendWindow = sendWindow;
    this.receiveWindow = receiveWindow;
  }

  writeHead(head: Head, end: boolean): void {
    if (!this.dead && !this.endQueued) this.host.sendHead(this, head, end);
  }

  writeData(chunk: Uint8Array, end: boolean): boolean {
    if (this.dead || this.endQueued) return true;
    if (!this.headSent && !this.headHeld) assert.fail('a body was written before its head; call writeHead first');
    if (chunk.length > 0) {
      if (this.queue === NO_CHUNKS) this.queue = [chunk];
      else this.queue.push(chunk);
    }
    this.queuedBytes += chunk.length;
    threadHeld.add(chunk.length);
    this.endQueued = end;
    this.host.pump(this);
    this.wantsDrain = this.queuedBytes > STREAM_QUEUE_BYTES;
    return !this.wantsDrain;
  }

  writeEnd(trailers: HeaderList | null): void {
    if (this.dead || this.endQueued) return;
    if (!this.headSent && !this.headHeld) assert.fail('a body was written before its head; call writeHead first');
    this.endQueued = true;
    this.trailers = trailers !== null && trailers.length > 0 ? trailers : null;
    this.host.pump(this);
  }

  reset(error: ProxyError): void {
    if (this.dead) return;
    const open = !this.localEnded || !this.remoteEnded;
    this.die();
    if (open) this.host.sendReset(this, resetCode(error));
  }

  pause(): void {
    this.paused = true;
  }

  resume(): void {
    this.paused = false;
    if (this.waking || this.dead || (this.inbox.length === 0 && !this.inboxEnd)) return;
    // What waited is delivered after this call: no event comes inside a call to the same stream.
    this.waking = true;
    queueMicrotask(() => {
      this.waking = false;
      try {
        this.deliver();
      } catch (error) {
        // Outside the socket's callbacks nothing else would contain a throw to this connection.
        this.host.contain(error as Error);
      }
    });
  }

  /** DATA arrived; `end` with it. `bytes` counts padding, too. */
  receive(chunk: Uint8Array, end: boolean, bytes: number): void {
    if (bytes > chunk.length) this.host.consumed(this, bytes - chunk.length);
    if (chunk.length === 0 && !end) return;
    if (this.paused || this.waking || this.inbox.length > 0) {
      if (chunk.length > 0) {
        if (this.inbox === NO_CHUNKS) this.inbox = [chunk];
        else this.inbox.push(chunk);
        this.wait(chunk.length);
      }
      this.inboxEnd = end;
      return;
    }
    this.events.onData(chunk, end);
    this.host.consumed(this, chunk.length);
  }

  /** The end arrived as trailers. */
  receiveEnd(trailers: HeaderList | null): void {
    if (this.paused || this.waking || this.inbox.length > 0) {
      this.inboxEnd = true;
      this.inboxTrailers = trailers;
    } else this.events.onEnd(trailers);
  }

  /** The stream failed: told at once, or behind what is complete and still waits to be read (RFC 9113 §8.1). */
  fail(error: ProxyError): void {
    if (this.dead) return;
    if (this.remoteEnded && this.inboxEnd) {
      this.inboxReset = error;
      this.dropQueue();
      return;
    }
    this.die();
    this.events.onReset(error);
  }

  /** Room in the queue again. */
  drained(): void {
    if (!this.wantsDrain || this.queuedBytes > STREAM_QUEUE_BYTES || this.dead) return;
    this.wantsDrain = false;
    this.events.onDrain();
  }

  private deliver(): void {
    while (!this.paused && !this.dead && this.inbox.length > 0) {
      const chunk = this.inbox.shift() as Uint8Array;
      this.wait(-chunk.length);
      const end = this.inboxEnd && this.inbox.length === 0 && this.inboxTrailers === null;
      if (end) this.inboxEnd = false;
      this.events.onData(chunk, end);
      this.host.consumed(this, chunk.length);
    }
    if (this.paused || this.dead) return;
    if (this.inboxEnd) {
      this.inboxEnd = false;
      this.events.onEnd(this.inboxTrailers);
    }
    if (this.inboxReset === null || this.dead) return;
    this.die();
    this.events.onReset(this.inboxReset);
  }

  /** `bytes` more wait for the receiver. */
  private wait(bytes: number): void {
    threadHeld.add(bytes);
    this.host.held(bytes);
  }

  /** `bytes` of the queue went out. */
  sent(bytes: number): void {
    this.queuedBytes -= bytes;
    this.sentBytes += bytes;
    this.sendWindow -= bytes;
    threadHeld.add(-bytes);
  }

  private dropQueue(): void {
    this.queue = NO_CHUNKS;
    threadHeld.add(-this.queuedBytes);
    this.queuedBytes = 0;
    this.endQueued = true;
  }

  /** Drops what waits either way; the owner hears nothing more. */
  die(): void {
    this.dead = true;
    this.dropQueue();
    let bytes = 0;
    for (const chunk of this.inbox) bytes += chunk.length;
    this.inbox = NO_CHUNKS;
    if (bytes > 0) this.wait(-bytes);
  }
}

/** Counts body bytes against content-length (RFC 9113 §8.1.1); false when they cannot agree. */
export function countBody(stream: Http2Stream, bytes: number, end: boolean): boolean {
  if (stream.expectedBytes < 0) return true;
  stream.expectedBytes -= bytes;
  return stream.expectedBytes >= 0 && (!end || stream.expectedBytes === 0);
}
