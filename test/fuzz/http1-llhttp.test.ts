// Our HTTP/1.1 server against llhttp, through node:http: the same bytes, from a grammar and then mutated, are the same
// requests to both, and what one refuses the other refuses, but for the rows of `differences.ts`.

import http from 'node:http';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { serveHttp1 } from '../../sidecar/wire/http1/server.ts';
import { WireSocket } from '../../sidecar/wire/socket.ts';
import { Head } from '../../sidecar/wire/stream.ts';
import { fuzzAsync, fuzzTimeoutMs } from '../support/fuzz.ts';
import { endToEnd, type Message, requests, type Said } from '../support/http1-messages.ts';
import { dealtWith, MemorySocket } from '../support/memory-socket.ts';
import { DIFFERENCES, disagree, note } from './differences.ts';

/** What our server makes of the bytes. */
async function ours(bytes: Buffer): Promise<Said> {
  const said: Said = { messages: [], refused: '' };
  const socket = new MemorySocket();
  const connection = serveHttp1(
    new WireSocket(socket.asSocket),
    (stream) => {
      let message: Message = { line: '', headers: [], body: '', trailers: [] };
      const end = (trailers: readonly string[]): void => {
        said.messages.push({ ...message, trailers });
        stream.writeHead(Head.response(200, ['content-length', '0']), true);
      };
      return {
        onHead(head, last) {
          message = { ...message, line: `${head.method} ${head.authority} ${head.path}`, headers: head.headers };
          // An upgrade waits for its answer.
          if (last || head.protocol !== '') end([]);
        },
        onData(chunk, last) {
          message.body += Buffer.from(chunk).toString('latin1');
          if (last) end([]);
        },
        onEnd: (trailers) => end(trailers ?? []),
        onDrain() {},
        onReset() {},
      };
    },
    {
      scheme: 'http',
      onMalformed(reason) {
        said.refused = reason;
      },
      onClose() {},
    },
  );
  socket.push(bytes);
  await dealtWith();
  if (said.refused === '' && !connection.idle && !socket.writableEnded) said.refused = 'unfinished';
  socket.destroy();
  return said;
}

/** Where a request goes by its target and Host: [authority, path], in the words of our heads. */
function placeOf({ method, url = '', headers }: http.IncomingMessage): [string, string] {
  const absolute = /^https?:\/\/([^/?]*)(.*)$/i.exec(url);
  if (absolute === null) return [(headers.host ?? '').toLowerCase(), url];
  const path = absolute[2] as string;
  const empty = method === 'OPTIONS' ? '*' : '/';
  return [(absolute[1] as string).toLowerCase(), path.startsWith('/') ? path : path === '' ? empty : `/${path}`];
}

/** What node:http makes of the bytes. */
async function theirs(bytes: Buffer): Promise<Said> {
  const said: Said = { messages: [], refused: '' };
  const socket = new MemorySocket();
  let begun = 0;
  let isOver = false;
  const handle: http.RequestListener = (request, response) => {
    if (isOver || said.refused !== '') return;
    // As it does by default, but with a 400 that comes before those of earlier requests.
    if (request.httpVersionMinor > 0 && request.headers.host === undefined) {
      said.refused = 'no Host';
      return;
    }
    // Ours closes behind HTTP/1.0, whatever is asked for: a server may.
    begun++;
    isOver = !response.shouldKeepAlive || request.httpVersionMinor === 0;
    const [authority, path] = placeOf(request);
    const message: Message = {
      line: `${request.method} ${authority} ${path}`,
      headers: endToEnd(request.rawHeaders),
      body: '',
      trailers: [],
    };
    request.on('data', (chunk: Buffer) => {
      message.body += chunk.toString('latin1');
    });
    request.on('end', () => void said.messages.push({ ...message, trailers: endToEnd(request.rawTrailers) }));
    request.on('error', () => {});
    response.end();
  };
  const server = http.createServer({ requireHostHeader: false }, handle);
  // What is expected is relayed, for the application to know.
  server.on('checkExpectation', handle);
  server.on('clientError', (error: NodeJS.ErrnoException) => {
    said.refused ||= error.code ?? error.message;
  });
  server.emit('connection', socket);
  socket.push(bytes);
  await dealtWith();
  // Only what came to nothing tells whether a message was under way.
  if (!socket.destroyed && !isOver && said.refused === '') {
    socket.push(null);
    await dealtWith();
  }
  if (isOver && begun === said.messages.length) said.refused = '';
  else if (said.refused === '' && begun > said.messages.length) said.refused = 'unfinished';
  socket.destroy();
  return said;
}

test(
  'the same requests are seen, and the same refused, as by llhttp',
  async () => {
    const seen = new Set<string>();
    await fuzzAsync(
      'HTTP/1.1 server against llhttp',
      fc.asyncProperty(requests, async (bytes) => {
        const [our, their] = await Promise.all([ours(bytes), theirs(bytes)]);
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

test('the table has at most ten rows, each with its sentence', () => {
  const rows = Object.values(DIFFERENCES);
  expect(rows.length).toBeLessThanOrEqual(10);
  for (const { sentences } of rows) expect(sentences.join('\n')).toMatch(/^(?:RFC \d+ §[\d.]+: .+\n?)+$/);
});
