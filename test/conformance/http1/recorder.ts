// An application that writes down every byte: a plain TCP server which reads requests by a strict reading of its own,
// with none of the sidecar's code, and answers each 204 once it is whole.

import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';

/** A request as it stood on the wire. */
export interface SeenRequest {
  readonly method: string;
  readonly target: string;
  readonly host: string;
  /** `name: value`, without Host and what frames the body. */
  readonly fields: readonly string[];
  readonly body: string;
  readonly trailers: readonly string[];
}

const HEAD =
  /^([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([\x21-\x7e]+) HTTP\/1\.1\r\n((?:[!#$%&'*+.^_`|~0-9A-Za-z-]+: ?[^\r\n\0]*\r\n)*)$/;
const FIELD = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+: ?[^\r\n\0]*$/;

/** The requests at the front of `text` (one character a byte), and what is left. Throws where two readings are possible. */
export function readRequests(text: string): { requests: SeenRequest[]; rest: string } {
  const requests: SeenRequest[] = [];
  let rest = text;
  for (;;) {
    const end = rest.indexOf('\r\n\r\n');
    if (end === -1) return { requests, rest };
    const match = HEAD.exec(rest.slice(0, end + 2));
    if (match === null) throw new Error(`no request: ${JSON.stringify(rest.slice(0, 200))}`);
    const [, method = '', target = '', lines = ''] = match;
    const fields = lines.split('\r\n').slice(0, -1);
    const host = only(fields, 'host');
    if (host === null) throw new Error(`no Host: ${JSON.stringify(lines)}`);
    const body = readBody(rest.slice(end + 4), only(fields, 'content-length'), only(fields, 'transfer-encoding'));
    if (body === null) return { requests, rest };
    rest = body.rest;
    const others = fields.filter((line) => !/^(?:host|content-length|transfer-encoding):/i.test(line));
    requests.push({ method, target, host, fields: others, body: body.text, trailers: body.trailers });
  }
}

/** The value of the one field called `name`, or null; two of them are two readings. */
function only(fields: readonly string[], name: string): string | null {
  const found = fields.filter((line) => line.slice(0, line.indexOf(':')).toLowerCase() === name);
  if (found.length > 1) throw new Error(`${name} ${found.length} times`);
  return found[0] === undefined ? null : found[0].slice(name.length + 1).trim();
}

function readBody(
  text: string,
  length: string | null,
  coding: string | null,
): { text: string; trailers: string[]; rest: string } | null {
  if (coding !== null) {
    if (length !== null || coding !== 'chunked') throw new Error(`length ${length}, coding ${coding}`);
    return readChunks(text);
  }
  if (length !== null && !/^(?:0|[1-9][0-9]*)$/.test(length)) throw new Error(`length ${length}`);
  const bytes = Number(length ?? 0);
  return text.length < bytes ? null : { text: text.slice(0, bytes), trailers: [], rest: text.slice(bytes) };
}

function readChunks(text: string): { text: string; trailers: string[]; rest: string } | null {
  let body = '';
  let rest = text;
  for (;;) {
    const end = rest.indexOf('\r\n');
    if (end === -1) return null;
    const size = rest.slice(0, end);
    if (!/^(?:0|[1-9a-f][0-9a-f]{0,7})$/.test(size)) throw new Error(`chunk size ${JSON.stringify(size)}`);
    rest = rest.slice(end + 2);
    if (size === '0') break;
    const bytes = Number.parseInt(size, 16);
    if (rest.length < bytes + 2) return null;
    if (rest.slice(bytes, bytes + 2) !== '\r\n') throw new Error('no CRLF behind a chunk');
    body += rest.slice(0, bytes);
    rest = rest.slice(bytes + 2);
  }
  if (rest.startsWith('\r\n')) return { text: body, trailers: [], rest: rest.slice(2) };
  const end = rest.indexOf('\r\n\r\n');
  if (end === -1) return null;
  const trailers = rest.slice(0, end).split('\r\n');
  if (!trailers.every((line) => FIELD.test(line))) throw new Error(`trailers ${JSON.stringify(trailers)}`);
  return { text: body, trailers, rest: rest.slice(end + 4) };
}

export interface Recorder {
  readonly port: number;
  /** Every whole request, in the order of their ends. */
  readonly seen: SeenRequest[];
  /** What could be read in two ways. */
  readonly wrong: string[];
  close(): Promise<void>;
}

export async function recorder(): Promise<Recorder> {
  const seen: SeenRequest[] = [];
  const wrong: string[] = [];
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    socket.on('error', () => {});
    let rest = '';
    socket.on('data', (chunk) => {
      try {
        const read = readRequests(rest + chunk.toString('latin1'));
        rest = read.rest;
        seen.push(...read.requests);
        for (const _request of read.requests) socket.write('HTTP/1.1 204 No Content\r\n\r\n');
      } catch (error) {
        wrong.push((error as Error).message);
        socket.destroy();
      }
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    seen,
    wrong,
    async close() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}
