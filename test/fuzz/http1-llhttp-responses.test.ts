// Our HTTP/1.1 client against llhttp, through node:http: bytes of an upstream, from a grammar and then mutated, are the
// same response to both, and what one refuses the other refuses, but for the rows of `differences.ts`.

import { Agent, request } from 'node:http';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { removeHeader } from '../../sidecar/wire/headers.ts';
import { Http1ClientConnection } from '../../sidecar/wire/http1/client.ts';
import { WireSocket } from '../../sidecar/wire/socket.ts';
import { Head } from '../../sidecar/wire/stream.ts';
import { fuzzAsync, fuzzTimeoutMs } from '../support/fuzz.ts';
import { endToEnd, type Message, responses, type Said } from '../support/http1-messages.ts';
import { dealtWith, MemorySocket } from '../support/memory-socket.ts';
import { disagree, note } from './differences.ts';

const NOTHING: Message = { line: '', headers: [], body: '', trailers: [] };

/** Whatever follows a whole response belongs to none: ours closes the connection, theirs says why. */
function untilFinal(said: Said): Said {
  const last = said.messages.at(-1);
  return last !== undefined && Number(last.line) >= 200 ? { ...said, refused: '' } : said;
}

/** 1xx and 204 have no length to pass on (RFC 9110 §8.6). */
function withoutLength(headers: string[]): string[] {
  removeHeader(headers, 'content-length');
  return headers;
}

/** What our client makes of the bytes, then a FIN, as the answer to such a request. */
async function ours(method: string, bytes: Buffer): Promise<Said> {
  const said: Said = { messages: [], refused: '' };
  const socket = new MemorySocket();
  const connection = new Http1ClientConnection(new WireSocket(socket.asSocket), {
    onClose() {},
    onIdle() {},
    onMalformed(reason) {
      said.refused = reason;
    },
  });
  let message = NOTHING;
  const end = (trailers: readonly string[]): void => void said.messages.push({ ...message, trailers });
  const stream = connection.open({
    onHead(head, last) {
      if (head.status < 200) said.messages.push({ ...NOTHING, line: String(head.status), headers: head.headers });
      else message = { ...NOTHING, line: String(head.status), headers: head.headers };
      if (last) end([]);
    },
    onData(chunk, last) {
      message.body += Buffer.from(chunk).toString('latin1');
      if (last) end([]);
    },
    onEnd: (trailers) => end(trailers ?? []),
    onDrain() {},
    onReset() {
      said.refused ||= 'unfinished';
    },
  });
  stream.writeHead(Head.request(method, 'http', 'a', '/', []), true);
  await dealtWith();
  socket.push(bytes);
  socket.push(null);
  await dealtWith();
  socket.destroy();
  return untilFinal(said);
}

/** What node:http makes of them. */
async function theirs(method: string, bytes: Buffer): Promise<Said> {
  const said: Said = { messages: [], refused: '' };
  const socket = new MemorySocket();
  const agent = new Agent({ keepAlive: true });
  agent.createConnection = () => socket.asSocket;
  const call = request({ agent, method, host: 'a' });
  const fail = (error: NodeJS.ErrnoException): void => {
    said.refused ||= error.code ?? error.message;
  };
  call.on('error', fail);
  call.on('information', ({ statusCode, rawHeaders }) => {
    said.messages.push({ ...NOTHING, line: String(statusCode), headers: withoutLength(endToEnd(rawHeaders)) });
  });
  call.on('response', (response) => {
    const all = endToEnd(response.rawHeaders);
    const headers = response.statusCode === 204 ? withoutLength(all) : all;
    const message = { ...NOTHING, line: String(response.statusCode), headers };
    response.on('data', (chunk: Buffer) => {
      message.body += chunk.toString('latin1');
    });
    response.on('end', () => void said.messages.push({ ...message, trailers: endToEnd(response.rawTrailers) }));
    response.on('error', fail);
  });
  call.end();
  await dealtWith();
  socket.push(bytes);
  socket.push(null);
  await dealtWith();
  socket.destroy();
  agent.destroy();
  return untilFinal(said);
}

test(
  'the same responses are seen, and the same refused, as by llhttp',
  async () => {
    const seen = new Set<string>();
    await fuzzAsync(
      'HTTP/1.1 client against llhttp',
      fc.asyncProperty(fc.constantFrom('GET', 'GET', 'HEAD'), responses, async (method, bytes) => {
        const [our, their] = await Promise.all([ours(method, bytes), theirs(method, bytes)]);
        if (disagree(bytes, our, their)) expect(our, JSON.stringify(bytes.toString('latin1'))).toEqual(their);
        note(seen, our);
        note(seen, their);
      }),
    );
    // It compared something of each kind.
    expect([...seen].sort()).toEqual(['body', 'refused', 'several', 'taken', 'trailers']);
  },
  fuzzTimeoutMs(),
);
