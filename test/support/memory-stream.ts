// The fifth implementation of the stream contract: it records what is written to it. Tests play the codec by
// calling `events` and the exchange by giving a Recorder as events.

import type { ProxyError } from '../../sidecar/wire/error.ts';
import type { HeaderList } from '../../sidecar/wire/headers.ts';
import type { Head, HttpStream, StreamEvents } from '../../sidecar/wire/stream.ts';

/** Everything one direction carried, as a test wants to read it. */
export class Recorder implements StreamEvents {
  head: Head | null = null;
  /** 1xx statuses before the head. */
  early: number[] = [];
  chunks: Uint8Array[] = [];
  ended = false;
  trailers: HeaderList | null = null;
  error: ProxyError | null = null;
  drains = 0;

  /** The body as text. */
  get text(): string {
    return Buffer.concat(this.chunks).toString();
  }

  onHead(head: Head, end: boolean): void {
    this.expectOpen();
    if (head.status > 0 && head.status < 200) {
      this.early.push(head.status);
      return;
    }
    if (this.head !== null) throw new Error('a second head');
    this.head = head;
    this.ended = end;
  }

  onData(chunk: Uint8Array, end: boolean): void {
    this.expectOpen();
    if (this.head === null) throw new Error('data before the head');
    this.chunks.push(chunk);
    this.ended = end;
  }

  onEnd(trailers: HeaderList | null): void {
    this.expectOpen();
    this.trailers = trailers;
    this.ended = true;
  }

  onDrain(): void {
    this.drains++;
  }

  onReset(error: ProxyError): void {
    if (this.error !== null) throw new Error('a second reset');
    this.error = error;
  }

  private expectOpen(): void {
    if (this.ended || this.error !== null) throw new Error('something after the end');
  }
}

/** A stream whose peer is the test. `sent` has what was written; a wrong order throws. */
export class MemoryStream implements HttpStream {
  readonly isDirect = true;
  events: StreamEvents = new Recorder();
  readonly sent = new Recorder();
  /** Set to false to play a slow reader. */
  room = true;
  paused = false;

  writeHead(head: Head, end: boolean): void {
    this.sent.onHead(head, end);
  }

  writeData(chunk: Uint8Array, end: boolean): boolean {
    this.sent.onData(chunk, end);
    return this.room;
  }

  writeEnd(trailers: HeaderList | null): void {
    this.sent.onEnd(trailers);
  }

  reset(error: ProxyError): void {
    if (this.sent.error === null) this.sent.onReset(error);
  }

  pause(): void {
    this.paused = true;
  }

  resume(): void {
    this.paused = false;
  }
}
