// Reads server-sent events from bytes as they come, for a tap: every byte that comes in leaves again in the `raw`
// of exactly one event or in `rest`, so what is not understood is still passed on. Cuts may fall anywhere, inside
// a UTF-8 sequence or between CR and LF.

import { LIMITS } from '../base/limits.ts';

/** One block up to and with its blank line (WHATWG HTML §9.2.6), or what came late of one. */
interface SseEvent {
  /** The `event:` name; empty when absent. */
  event: string;
  /** `data:` lines joined by LF; null for a block without any, such as a comment used as keep-alive. */
  data: string | null;
  /** The block's bytes as received, blank line included. */
  raw: Uint8Array;
  /**
   * `raw` is the last byte of the block before, which goes where that went: the LF of a CRLF, of which the CR ended its
   * chunk. A block ends at its CR, since after a lone CR nothing more need come.
   */
  late: boolean;
}

export const LF = 10;
export const CR = 13;
const decoder = new TextDecoder('utf-8', { ignoreBOM: true });

/** A push parser; one per response. */
export class SseReader {
  private readonly eventBytesMax: number;
  private buffer = new Uint8Array(1024);
  private length = 0;
  private atLineStart = true;
  private afterCr = false;
  private first = true;
  /** An event is larger than the bound: the reader is spent. */
  isTooLarge = false;

  /** @param eventBytesMax see LIMITS.sseEventBytesMax. */
  constructor(eventBytesMax: number = LIMITS.sseEventBytesMax) {
    this.eventBytesMax = eventBytesMax;
  }

  /** The events that `chunk` completes, in order, those before one that `isTooLarge`, too. */
  push(chunk: Uint8Array): SseEvent[] {
    const events: SseEvent[] = [];
    if (this.isTooLarge) return events;
    let from = 0;
    for (let i = 0; i < chunk.length; i++) {
      const byte = chunk[i];
      if (byte === LF && this.afterCr) {
        this.afterCr = false;
        if (this.length > 0 || i > 0) continue;
        events.push({ event: '', data: null, raw: chunk.slice(0, 1), late: true });
        from = 1;
        continue;
      }
      this.afterCr = byte === CR;
      if (byte !== LF && byte !== CR) {
        this.atLineStart = false;
        continue;
      }
      if (!this.atLineStart) {
        this.atLineStart = true;
        continue;
      }
      if (!this.append(chunk, from, i + 1)) return events;
      const ended = this.length;
      this.length = 0;
      from = i + 1;
      let raw = this.buffer.slice(0, ended);
      if (this.afterCr && chunk[from] === LF) {
        raw = new Uint8Array(ended + 1);
        raw.set(this.buffer.subarray(0, ended));
        raw[ended] = LF;
        this.afterCr = false;
        from++;
        i++;
      }
      events.push(parseBlock(raw, this.first));
      this.first = false;
    }
    this.append(chunk, from, chunk.length);
    return events;
  }

  /** Bytes of a block that was begun and not ended; what a cut stream leaves. */
  rest(): Uint8Array {
    return this.buffer.slice(0, this.length);
  }

  private append(chunk: Uint8Array, from: number, to: number): boolean {
    const length = this.length + to - from;
    if (length > this.eventBytesMax) {
      this.isTooLarge = true;
      return false;
    }
    if (length > this.buffer.length) {
      const grown = new Uint8Array(Math.max(length, this.buffer.length * 2));
      grown.set(this.buffer.subarray(0, this.length));
      this.buffer = grown;
    }
    this.buffer.set(chunk.subarray(from, to), this.length);
    this.length = length;
    return true;
  }
}

function parseBlock(raw: Uint8Array, first: boolean): SseEvent {
  let text = decoder.decode(raw);
  if (first && text.startsWith('\ufeff')) text = text.slice(1);
  let event = '';
  let data: string | null = null;
  for (const line of text.split(/\r\n|\n|\r/)) {
    const colon = line.indexOf(':');
    if (line === '' || colon === 0) continue;
    const name = colon === -1 ? line : line.slice(0, colon);
    const value = colon === -1 ? '' : line.slice(line[colon + 1] === ' ' ? colon + 2 : colon + 1);
    if (name === 'event') event = value;
    else if (name === 'data') data = data === null ? value : `${data}\n${value}`;
  }
  return { event, data, raw, late: false };
}
