// Who sends next when the socket or the connection's window lets only some streams go on: urgency first, within it turn
// by turn (RFC 9218). Streams that wait for their own window are not in here, and where nobody waits nothing is looked at.

import { type HeaderList, headerValue } from '../headers.ts';
import type { Http2Stream } from './stream.ts';

/** Urgency without a signal (RFC 9218 §4.1). */
const URGENCY = 3;
const URGENCIES = 8;
/** Enough for `u=N, i` with parameters that nobody knows; what is longer is read up to here. */
const PRIORITY_CHARS_MAX = 64;

/** How a stream's data takes its turn. */
export interface Priority {
  /** 0 (first) to 7. */
  readonly urgency: number;
  /** Shares its urgency's turns, a frame each; else it is served to its end. */
  readonly incremental: boolean;
}

/** Without a signal streams share: they are calls of different users, not parts of a page, so none waits for another's end. */
export const NO_PRIORITY: Priority = { urgency: URGENCY, incremental: true };

/** Reads a priority field (RFC 9218 §4, a dictionary of RFC 9651 §3.2); what is not understood is as if it were not there. */
export function parsePriority(text: string): Priority {
  let urgency = URGENCY;
  let incremental = false;
  for (const member of text.slice(0, PRIORITY_CHARS_MAX).split(',')) {
    const [item = ''] = member.trim().split(';');
    if (/^u=[0-7]$/.test(item)) urgency = Number(item.slice(2));
    else if (item === 'i' || item === 'i=?1') incremental = true;
    else if (item === 'i=?0') incremental = false;
  }
  return { urgency, incremental };
}

/** The priority that a request's fields ask for. */
export function priorityOf(fields: HeaderList): Priority {
  const text = headerValue(fields, 'priority');
  return text === undefined ? NO_PRIORITY : parsePriority(text);
}

/** Streams that could send but for the connection. */
export class SendQueue {
  private readonly levels: Http2Stream[][] = Array.from({ length: URGENCIES }, () => []);
  private size = 0;

  /** Adds a stream behind those of its urgency, unless it waits already. */
  add(stream: Http2Stream): void {
    if (stream.isWaiting) return;
    // Slow path: the field is read only when the stream must wait.
    stream.priority ??= stream.requestFields === null ? NO_PRIORITY : priorityOf(stream.requestFields);
    stream.isWaiting = true;
    this.size++;
    this.level(stream).push(stream);
  }

  remove(stream: Http2Stream): void {
    if (!stream.isWaiting) return;
    stream.isWaiting = false;
    this.size--;
    const level = this.level(stream);
    level.splice(level.indexOf(stream), 1);
  }

  /** Who sends the next frame; null: nobody waits. */
  first(): Http2Stream | null {
    if (this.size === 0) return null;
    for (const level of this.levels) if (level.length > 0) return level[0] as Http2Stream;
    return null;
  }

  /** The stream has had its turn and has more to send. */
  served(stream: Http2Stream): void {
    if (!stream.isWaiting || !stream.priority?.incremental) return;
    const level = this.level(stream);
    level.splice(level.indexOf(stream), 1);
    level.push(stream);
  }

  /** PRIORITY_UPDATE (RFC 9218 §7.1). */
  update(stream: Http2Stream, priority: Priority): void {
    const waits = stream.isWaiting;
    this.remove(stream);
    stream.priority = priority;
    if (waits) this.add(stream);
  }

  clear(): void {
    for (let stream = this.first(); stream !== null; stream = this.first()) this.remove(stream);
  }

  private level(stream: Http2Stream): Http2Stream[] {
    return this.levels[(stream.priority ?? NO_PRIORITY).urgency] as Http2Stream[];
  }
}
