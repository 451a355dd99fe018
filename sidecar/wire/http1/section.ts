// Finds the end of a head or trailer section in bytes cut anywhere: usually inside the chunk, else held until it comes.

import * as limits from './limits.ts';
import type { Rejection } from './reject.ts';
import { REJECT } from './reject.ts';

const CRLFCRLF = Buffer.from('\r\n\r\n', 'latin1');
const EMPTY = Buffer.alloc(0);

/** The section under way on one connection, and where the last whole one lies. */
export class Section {
  /** After `collect`: why the section was refused, or null. */
  rejection: Rejection | null = null;
  /** After `collect`: whether the section is whole, in `bytes[from, to)`, its last line ended. */
  isWhole = false;
  bytes: Buffer = EMPTY;
  from = 0;
  to = 0;
  /** Bytes of an unfinished section. */
  heldBytes = 0;
  private held: Buffer = EMPTY;

  /** The section's first byte, if it begins or goes on at `chunk[at]`. */
  first(chunk: Buffer, at: number): number {
    return (this.heldBytes > 0 ? this.held[0] : chunk[at]) as number;
  }

  hold(chunk: Buffer, at: number, bytes: number): void {
    const needed = this.heldBytes + bytes;
    if (needed > this.held.length) {
      const larger = Buffer.allocUnsafe(Math.max(needed, this.held.length * 2, 1024));
      this.held.copy(larger, 0, 0, this.heldBytes);
      this.held = larger;
    }
    chunk.copy(this.held, this.heldBytes, at, at + bytes);
    this.heldBytes = needed;
  }

  /**
   * Goes on at `chunk[at]` and looks at new bytes only; returns the offset behind what it took.
   * @param lineTooLong why a section is refused that is too large by its first line alone.
   */
  collect(chunk: Buffer, at: number, lineTooLong: Rejection): number {
    this.isWhole = false;
    if (this.heldBytes === 0) {
      const end = chunk.indexOf(CRLFCRLF, at);
      if (end !== -1) {
        if (end + 4 - at > limits.HEAD_BYTES_MAX) this.rejection = tooLarge(chunk, at, end, lineTooLong);
        else this.found(chunk, at, end + 2);
        return end + 4;
      }
    }
    // Slow path: a section in several segments is rare.
    const before = this.heldBytes;
    const room = limits.HEAD_BYTES_MAX + 4 - before;
    const left = chunk.length - at;
    const take = left < room ? left : room;
    this.hold(chunk, at, take);
    const end = this.held.subarray(0, this.heldBytes).indexOf(CRLFCRLF, before < 3 ? 0 : before - 3);
    if (end !== -1 && end + 4 <= limits.HEAD_BYTES_MAX) {
      const behind = this.heldBytes - (end + 4);
      this.found(this.held, 0, end + 2);
      this.held = EMPTY;
      this.heldBytes = 0;
      return at + take - behind;
    }
    if (hasBareLf(this.held, before, this.heldBytes, 0)) this.rejection ??= REJECT.bareLf;
    if (this.heldBytes > limits.HEAD_BYTES_MAX) this.rejection ??= tooLarge(this.held, 0, this.heldBytes, lineTooLong);
    return at + take;
  }

  /** The section was read: its memory may go. */
  release(): void {
    this.bytes = EMPTY;
  }

  private found(bytes: Buffer, from: number, to: number): void {
    this.isWhole = true;
    this.bytes = bytes;
    this.from = from;
    this.to = to;
  }
}

/** Whether an LF in `bytes[from, to)` follows no CR; `start`: where the section begins. */
function hasBareLf(bytes: Uint8Array, from: number, to: number, start: number): boolean {
  for (let i = from; i < to; i++) if (bytes[i] === 0x0a && (i === start || bytes[i - 1] !== 0x0d)) return true;
  return false;
}

/**
 * What a whole section, refused for `rejection`, is refused for: a bare LF before anything else, as when it comes in pieces,
 * where no more is waited for behind one. Else the cuts would choose the status and the label.
 */
export function refusalOf(bytes: Uint8Array, from: number, to: number, rejection: Rejection): Rejection {
  return hasBareLf(bytes, from, to, from) ? REJECT.bareLf : rejection;
}

function tooLarge(bytes: Buffer, from: number, to: number, lineTooLong: Rejection): Rejection {
  const line = bytes.indexOf(0x0a, from);
  const isLine = line === -1 || line > to || line - from > limits.URI_BYTES_MAX + limits.METHOD_BYTES_MAX + 12;
  return isLine ? lineTooLong : REJECT.headTooLarge;
}
