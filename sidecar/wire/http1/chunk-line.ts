// What stands between the bytes of a chunked body (RFC 9112 §7.1): size lines with extensions, and the end of each
// chunk. Byte by byte, since a few bytes a chunk are not worth more.

import * as limits from './limits.ts';
import type { Rejection } from './reject.ts';
import { REJECT } from './reject.ts';

const SIZE = 0;
const EXTENSION = 1;
const SIZE_LF = 2;
const DATA_CR = 3;
const DATA_LF = 4;

/** One connection's chunk lines. */
export class ChunkLine {
  /** Of the line just read, in bytes. */
  size = 0;
  /** Whether the line has ended: `size` bytes follow, or for 0 the trailers. */
  isDone = false;
  private state = SIZE;
  private digits = 0;
  private extensionBytes = 0;

  /** Before the first chunk of a body. */
  start(): void {
    this.extensionBytes = 0;
    this.startLine();
  }

  /** Behind the bytes of a chunk. */
  startEnd(): void {
    this.isDone = false;
    this.state = DATA_CR;
  }

  /** Takes one byte. */
  take(byte: number): Rejection | null {
    switch (this.state) {
      case SIZE:
        return this.takeSize(byte);
      case EXTENSION:
        if (byte === 0x0d) this.state = SIZE_LF;
        else if (byte < 0x20 && byte !== 0x09) return byte === 0x0a ? REJECT.bareLf : REJECT.chunkExtension;
        else if (byte === 0x7f) return REJECT.chunkExtension;
        else if (++this.extensionBytes > limits.CHUNK_EXTENSION_BYTES_MAX) return REJECT.chunkExtensionTooLarge;
        return null;
      case SIZE_LF:
        if (byte !== 0x0a) return REJECT.bareCr;
        this.isDone = true;
        return null;
      case DATA_CR:
        if (byte !== 0x0d) return REJECT.chunkEnd;
        this.state = DATA_LF;
        return null;
      default:
        if (byte !== 0x0a) return REJECT.chunkEnd;
        this.startLine();
        return null;
    }
  }

  private takeSize(byte: number): Rejection | null {
    const digit = hexDigit(byte);
    if (digit >= 0) {
      if (++this.digits > limits.CHUNK_SIZE_DIGITS_MAX) return REJECT.chunkSize;
      this.size = this.size * 16 + digit;
      return null;
    }
    if (this.digits === 0) return REJECT.chunkSize;
    if (byte === 0x0d) this.state = SIZE_LF;
    else if (byte === 0x3b) this.state = EXTENSION;
    else return REJECT.chunkSize;
    return null;
  }

  private startLine(): void {
    this.isDone = false;
    this.state = SIZE;
    this.size = 0;
    this.digits = 0;
  }
}

function hexDigit(byte: number): number {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  const lower = byte | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1;
}
