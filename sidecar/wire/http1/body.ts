// Writes one message's body in the framing its head promised, and notices when what is written breaks the promise.

import { ProxyError } from '../error.ts';
import type { HeaderList } from '../headers.ts';
import { headerValue } from '../headers.ts';
import type { ByteConnection } from '../socket.ts';
import type { Framing } from './serialize.ts';
import { lastChunk } from './serialize.ts';

/** Said of a caller that writes a body before its head: nobody could tell what the bytes belong to. */
export const WRITTEN_BEFORE_HEAD = 'a body was written before its head; call writeHead first';

/** What the owner of a stream hears whose body broke what its head promised. */
export const BROKEN_BODY = new ProxyError(
  'internal',
  'local',
  'the body differs from its content-length, or its trailers cannot be carried by HTTP/1.1',
);

const DIGITS = /^[0-9]{1,15}$/;

/** The declared length of a message about to be written, or -1: none, or none that everybody would read alike. */
export function declaredLength(headers: HeaderList): number {
  const value = headerValue(headers, 'content-length');
  return value !== undefined && DIGITS.test(value) ? Number(value) : -1;
}

/** The body of one message going out. */
export class BodyWriter {
  framing: Framing = 'none';
  /** More or fewer bytes were written than Content-Length said, or trailers that cannot be carried: only the connection's end tells the peer. */
  isBroken = false;
  private readonly socket: ByteConnection;
  private left = 0;

  constructor(socket: ByteConnection) {
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
    if (this.framing === 'chunked') {
      const text = lastChunk(trailers);
      if (text === null) this.isBroken = true;
      else this.socket.write(text);
    } else if (this.framing === 'length' && this.left > 0) this.isBroken = true;
  }
}
