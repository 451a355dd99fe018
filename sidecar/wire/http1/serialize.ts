// Heads to bytes: one latin1 string per head, and the framing it promises. Whatever put a field into the list, the
// bytes hold exactly the lines they should: nothing set by a filter or a transcoder can smuggle a second message.

import { ProxyError } from '../error.ts';
import type { HeaderList } from '../headers.ts';
import type { Head } from '../stream.ts';
import { REASONS } from './reasons.ts';

/** How a body is delimited: not at all, by Content-Length, by chunks, by the connection's end, or raw after 101 and CONNECT. */
export type Framing = 'none' | 'length' | 'chunked' | 'close' | 'tunnel';

const statusLines: string[] = [];
for (let status = 100; status < 1000; status++) {
  statusLines[status] = `HTTP/1.1 ${status} ${REASONS.get(status) ?? ''}\r\n`;
}

const BEYOND_LATIN1 = /[\u0100-\uffff]/;
const UNSAFE = /[\r\n\u0000\u0100-\uffff]/;

let lines = 0;

/** Appends the fields and counts their lines in `lines`. Framing is the codec's alone, so a field that claims it is left out. */
function fields(headers: HeaderList, withLength: boolean): string {
  let text = '';
  let hasLength = !withLength;
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] as string;
    if (name === 'transfer-encoding') continue;
    if (name === 'content-length') {
      if (hasLength) continue;
      hasLength = true;
    }
    lines++;
    text += `${name}: ${headers[i + 1]}\r\n`;
  }
  return text;
}

/** Whether the text has `count` lines, each ended by CRLF, and no other CR or LF, no NUL, and nothing that latin1 would cut down to one (U+010A is LF then). */
function hasOnlyLines(text: string, count: number): boolean {
  let seen = 0;
  for (let at = text.indexOf('\n'); at !== -1; at = text.indexOf('\n', at + 1)) seen++;
  if (seen !== count) return false;
  for (let at = text.indexOf('\r'); at !== -1; at = text.indexOf('\r', at + 1)) seen--;
  return seen === 0 && text.indexOf('\0') === -1 && !BEYOND_LATIN1.test(text);
}

/**
 * A request head, or null: see `unsafeHead`. `upgrade`: the token of an upgrade, or empty. Adds `host`, framing, and
 * `connection: te` beside `te` (RFC 9110 §10.1.4).
 */
export function requestHead(head: Head, method: string, framing: Framing, upgrade: string): string | null {
  const target = method === 'CONNECT' ? head.authority : head.path;
  lines = 3;
  let text = `${method} ${target} HTTP/1.1\r\nhost: ${head.authority}\r\n${fields(head.headers, framing === 'length')}`;
  if (framing === 'chunked') {
    lines++;
    text += 'transfer-encoding: chunked\r\n';
  }
  if (upgrade !== '') {
    lines += 2;
    text += `connection: upgrade\r\nupgrade: ${upgrade}\r\n`;
  } else if (head.headers.includes('te')) {
    lines++;
    text += 'connection: te\r\n';
  }
  text += '\r\n';
  return hasOnlyLines(text, lines) ? text : null;
}

/** A response head, or null: see `unsafeHead`. `emptyLength`: says `content-length: 0`, for a body that is known to be empty. */
export function responseHead(
  head: Head,
  framing: Framing,
  emptyLength: boolean,
  close: boolean,
  upgrade: string,
): string | null {
  const withLength =
    head.status >= 200 && head.status !== 204 && (framing === 'length' || (framing === 'none' && !emptyLength));
  lines = 2;
  let text = (statusLines[head.status] as string) + fields(head.headers, withLength);
  if (framing === 'chunked') {
    lines++;
    text += 'transfer-encoding: chunked\r\n';
  }
  if (emptyLength) {
    lines++;
    text += 'content-length: 0\r\n';
  }
  if (upgrade !== '') {
    lines += 2;
    text += `connection: upgrade\r\nupgrade: ${upgrade}\r\n`;
  } else if (close) {
    lines++;
    text += 'connection: close\r\n';
  }
  text += '\r\n';
  return hasOnlyLines(text, lines) ? text : null;
}

/** The end of a chunked body with its trailers (RFC 9112 §7.1.2), or null: see `unsafeHead`. */
export function lastChunk(trailers: HeaderList | null): string | null {
  if (trailers === null) return '0\r\n\r\n';
  lines = 2;
  const text = `0\r\n${fields(trailers, false)}\r\n`;
  return hasOnlyLines(text, lines) ? text : null;
}

/** Why a head or trailers were not written, with the name of the field, never its value. */
export function unsafeHead(headers: HeaderList): ProxyError {
  let which = 'the target, the host or the upgrade token';
  for (let i = 0; i < headers.length; i += 2) {
    if (UNSAFE.test(headers[i] as string)) which = `the name of field ${i / 2 + 1}`;
    else if (UNSAFE.test(headers[i + 1] as string)) which = `the value of ${headers[i]}`;
    else continue;
    break;
  }
  const detail = `${which} holds CR, LF, NUL or a character beyond Latin-1, so HTTP/1.1 would read it as another message; look at the filter or transcoder that set it`;
  return new ProxyError('internal', 'local', detail);
}
