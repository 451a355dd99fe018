// Writes one message's body in the framing its head promised, and notices when what is written breaks the promise.

import type { HeaderList } from '../headers.ts';
import { headerValue } from '../headers.ts';
import type { WireSocket } from '../socket.ts';
import type { Framing } from './serialize.ts';
import { lastChunk } from './serialize.ts';

/** The declared length of a message about to be written, or -1. */
export function declaredLength(headers: HeaderList): number {
  const value = headerValue(headers, 'content-length');
  return value === undefined ? -1 : Number(value);
}

/** The body of one message going out. */
export class BodyWriter {
  framing: Framing = 'none';
  /** More or fewer bytes were written than Content-Length said: only the connection's end tells the peer. */
  isBroken = false;
  private readonly socket: WireSocket;
  private left = 0;

  constructor(socket: WireSocket) {
    this.socket = socket;
  }

  start(framing: Framing, length: number): void {
    this.framing = framing;
    this.left = length;
    this.isBroken = false;
  }

  /** false: above the high-water mark. */
  write(chunk: Uint8Array): boolean {
    if (chunk.length === 0 || this.framing === 'none') return true;
    if (this.framing === 'chunked') {
      this.socket.write(`${chunk.length.toString(16)}\r\n`);
      this.socket.write(chunk);
      return this.socket.write('\r\n');
    }
    if (this.framing === 'length') {
      if (chunk.length > this.left) {
        this.isBroken = true;
        return true;
      }
      this.left -= chunk.length;
    }
    return this.socket.write(chunk);
  }

  end(trailers: HeaderList | null): void {
    if (this.framing === 'chunked') this.socket.write(lastChunk(trailers));
    else if (this.framing === 'length' && this.left > 0) this.isBroken = true;
  }
}
