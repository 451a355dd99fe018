// Heads to bytes: one latin1 string per head, and the framing it promises.

import { STATUS_CODES } from 'node:http';
import type { HeaderList } from '../headers.ts';
import type { Head } from '../stream.ts';

/** How a body is delimited: not at all, by Content-Length, by chunks, by the connection's end, or raw after 101 and CONNECT. */
export type Framing = 'none' | 'length' | 'chunked' | 'close' | 'tunnel';

const statusLines: string[] = [];
for (let status = 100; status < 1000; status++) {
  statusLines[status] = `HTTP/1.1 ${status} ${STATUS_CODES[String(status)] ?? ''}\r\n`;
}

function fields(headers: HeaderList, withLength: boolean): string {
  let text = '';
  for (let i = 0; i < headers.length; i += 2) {
    if (!withLength && headers[i] === 'content-length') continue;
    text += `${headers[i]}: ${headers[i + 1]}\r\n`;
  }
  return text;
}

/** A request head. `upgrade`: the token of an upgrade, or empty. Adds `host`, framing, and `connection: te` beside `te` (RFC 9110 §10.1.4). */
export function requestHead(head: Head, method: string, framing: Framing, upgrade: string): string {
  const target = method === 'CONNECT' ? head.authority : head.path;
  let text = `${method} ${target} HTTP/1.1\r\nhost: ${head.authority}\r\n${fields(head.headers, framing !== 'tunnel')}`;
  if (framing === 'chunked') text += 'transfer-encoding: chunked\r\n';
  if (upgrade !== '') text += `connection: upgrade\r\nupgrade: ${upgrade}\r\n`;
  else if (head.headers.includes('te')) text += 'connection: te\r\n';
  return `${text}\r\n`;
}

/** A response head. `emptyLength`: says `content-length: 0`, for a body that is known to be empty. */
export function responseHead(
  head: Head,
  framing: Framing,
  emptyLength: boolean,
  close: boolean,
  upgrade: string,
): string {
  const withLength = head.status >= 200 && head.status !== 204 && framing !== 'tunnel';
  let text = (statusLines[head.status] as string) + fields(head.headers, withLength);
  if (framing === 'chunked') text += 'transfer-encoding: chunked\r\n';
  if (emptyLength) text += 'content-length: 0\r\n';
  if (upgrade !== '') text += `connection: upgrade\r\nupgrade: ${upgrade}\r\n`;
  else if (close) text += 'connection: close\r\n';
  return `${text}\r\n`;
}

/** The end of a chunked body with its trailers (RFC 9112 §7.1.2). */
export function lastChunk(trailers: HeaderList | null): string {
  return trailers === null ? '0\r\n\r\n' : `0\r\n${fields(trailers, false)}\r\n`;
}
