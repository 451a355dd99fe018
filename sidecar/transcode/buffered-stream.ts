// The base of what must see a whole request body before it can hand the request on: the transcoder and the AI tap.
// It stands between a server stream and the exchange: `StreamEvents` towards the first, `HttpStream` towards the second.

import { HeldChunks, threadHeld } from '../base/held.ts';
import type { ProxyError } from '../wire/error.ts';
import { type HeaderList, headerValue, removeHeader } from '../wire/headers.ts';
import { Head, type HttpStream, type StreamEvents } from '../wire/stream.ts';

/** Receives nothing: the face of a stream that nobody has connected. */
const NOBODY: StreamEvents = {
  onHead: () => {},
  onData: () => {},
  onEnd: () => {},
  onDrain: () => {},
  onReset: () => {},
};

/** Give it to the server codec as the stream's events, and set `events` to the exchange before the first event. */
export abstract class BufferedStream implements HttpStream, StreamEvents {
  readonly isDirect = false;
  events: StreamEvents = NOBODY;
  protected readonly downstream: HttpStream;
  /** Nothing passes towards the exchange any more: it has reset, or we answered in its place. */
  protected detached = false;
  /** The request was handed on. */
  protected forwarded = false;
  /** The client's side takes nothing for now. */
  protected full = false;
  private readonly bodyBytesMax: number;
  private request: Head | null = null;
  private passing = false;
  private readonly body = new HeldChunks();

  constructor(downstream: HttpStream, bodyBytesMax: number) {
    this.downstream = downstream;
    this.bodyBytesMax = bodyBytesMax;
  }

  /** Whether to buffer this request; otherwise it passes both ways untouched. */
  protected abstract wants(head: Head): boolean;
  /** The whole request: `forward` it or `reply`. */
  protected abstract onRequest(head: Head, body: Uint8Array): void;
  /** The body is larger than the bound: `reply`. */
  protected abstract onTooLarge(bodyBytesMax: number): void;
  /** The worker holds too much to collect this body, too: `reply`. */
  protected abstract onOverloaded(): void;
  /** The client went away; runs before the exchange hears of it, if it had heard of the request at all. */
  protected abstract onGone(request: Head): void;
  protected abstract responseHead(head: Head, end: boolean): void;
  protected abstract responseData(chunk: Uint8Array, end: boolean): boolean;
  protected abstract responseEnd(trailers: HeaderList | null): void;
  protected abstract responseReset(error: ProxyError): void;

  onHead(head: Head, end: boolean): void {
    if (!this.wants(head)) {
      this.passing = true;
      this.events.onHead(head, end);
      return;
    }
    this.request = head;
    if (end) return this.complete();
    if (Number(headerValue(head.headers, 'content-length') ?? 0) > this.bodyBytesMax) return this.tooLarge();
    if (removeHeader(head.headers, 'expect')) this.downstream.writeHead(Head.response(100, []), false);
  }

  onData(chunk: Uint8Array, end: boolean): void {
    if (this.passing) return this.events.onData(chunk, end);
    if (this.detached) return;
    if (this.body.bytes + chunk.length > this.bodyBytesMax) return this.tooLarge();
    this.body.push(chunk);
    if (threadHeld.isFull) return this.overloaded();
    if (end) this.complete();
  }

  onEnd(trailers: HeaderList | null): void {
    if (this.passing) this.events.onEnd(trailers);
    else if (!this.detached) this.complete();
  }

  onDrain(): void {
    this.full = false;
    if (this.passing || (this.forwarded && !this.detached)) this.events.onDrain();
  }

  onReset(error: ProxyError): void {
    this.body.drop();
    if (this.passing) return this.events.onReset(error);
    const tell = this.forwarded && !this.detached;
    this.detached = true;
    if (this.request !== null) this.onGone(this.request);
    if (tell) this.events.onReset(error);
  }

  writeHead(head: Head, end: boolean): void {
    if (this.passing || head.status < 200) this.downstream.writeHead(head, end);
    else this.responseHead(head, end);
  }

  writeData(chunk: Uint8Array, end: boolean): boolean {
    return this.passing ? this.downstream.writeData(chunk, end) : this.responseData(chunk, end);
  }

  writeEnd(trailers: HeaderList | null): void {
    if (this.passing) this.downstream.writeEnd(trailers);
    else this.responseEnd(trailers);
  }

  reset(error: ProxyError): void {
    if (this.passing) return this.downstream.reset(error);
    if (this.detached) return;
    this.detached = true;
    this.responseReset(error);
  }

  pause(): void {
    this.downstream.pause();
  }

  resume(): void {
    this.downstream.resume();
  }

  /** Hands the request on; the exchange may answer or reset within the head already. */
  protected forward(head: Head, body: Uint8Array): void {
    this.forwarded = true;
    this.events.onHead(head, body.length === 0);
    if (body.length > 0 && !this.detached) this.events.onData(body, true);
  }

  /** A request was answered that was never handed on, so the exchange knows nothing of it. */
  protected onLocalReply(_request: Head, _status: number): void {}

  /** Answers in place of the upstream. */
  protected reply(status: number, contentType: string, body: string, more: HeaderList = []): void {
    this.detached = true;
    this.body.drop();
    const bytes = new TextEncoder().encode(body);
    const headers = ['content-type', contentType, 'content-length', String(bytes.length)];
    this.downstream.writeHead(Head.response(status, headers.concat(more)), false);
    this.downstream.writeData(bytes, true);
    if (!this.forwarded && this.request !== null) this.onLocalReply(this.request, status);
  }

  /** Writes to the client and remembers whether it has room. */
  protected send(chunk: Uint8Array, end: boolean): boolean {
    if (!this.downstream.writeData(chunk, end)) this.full = true;
    return !this.full;
  }

  private tooLarge(): void {
    this.detached = true;
    this.body.drop();
    this.onTooLarge(this.bodyBytesMax);
  }

  private overloaded(): void {
    this.detached = true;
    this.body.drop();
    this.onOverloaded();
  }

  private complete(): void {
    this.onRequest(this.request as Head, this.body.take());
  }
}
