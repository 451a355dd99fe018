// Every hostile request over a real socket with more behind it than is ever read: the client gets the whole answer and
// an orderly end, the reason is counted once, and whoever had the request hears that it failed.

import { once } from 'node:events';
import { expect, test } from 'vitest';
import { REJECT, rejectionError } from '../../../sidecar/wire/http1/reject.ts';
import { Head } from '../../../sidecar/wire/stream.ts';
import { REQUESTS, textOf } from '../../conformance/http1/tables.ts';
import { dial, serve } from './http1-peers.ts';

/** What is refused without waiting for an answer to something before it. */
const REFUSED = REQUESTS.filter(
  ({ refused, accepted = [] }) => refused !== undefined && accepted.every(({ unfinished }) => unfinished === true),
);

/** More than a socket buffer takes at once, less than a lingering connection reads. */
const MORE = Buffer.alloc(512 * 1024, 'z');

async function converse(port: number, bytes: string): Promise<string> {
  const socket = await dial(port);
  const failed: Error[] = [];
  socket.on('error', (error) => failed.push(error));
  socket.write(bytes, 'latin1');
  socket.write(MORE);
  let text = '';
  socket.on('data', (chunk: Buffer) => {
    text += chunk.toString('latin1');
  });
  await once(socket, 'end');
  // Whoever still sends when the end comes is read on, and not reset: the second write would hear of it.
  for (let i = 0; i < 2; i++) await new Promise((done) => socket.write(MORE.subarray(0, 1024), done));
  const closed = once(socket, 'close');
  socket.end();
  await closed;
  expect(failed).toEqual([]);
  return text;
}

test.each(REFUSED.map((row) => [row.name, row.cite, row] as const))(
  '%s (%s) is answered, counted and closed',
  async (_name, _cite, row) => {
    const served = await serve(() => {});
    const reason = row.refused as keyof typeof REJECT;
    const { status, section } = REJECT[reason];
    const { kind } = rejectionError(REJECT[reason], 'downstream');
    const text = await converse(served.port, textOf(row.bytes));
    expect(text).toMatch(new RegExp(`^HTTP/1.1 ${status} [^\\r]+\\r\\n`));
    expect(text).toContain('\r\nconnection: close\r\n');
    expect(text.endsWith(`\r\n\r\n${reason} (${section.replace('§', 'section ')})\n`)).toBe(true);
    expect(served.malformed).toEqual([reason]);
    expect(served.said.at(-1)).toBe(row.accepted === undefined ? undefined : `reset ${kind} no`);
  },
);

test('a body that breaks behind its answer is counted, and ends in the middle of the answer', async () => {
  const served = await serve((stream, event) => {
    if (!event.startsWith('POST')) return;
    stream.writeHead(Head.response(200, []), false);
    stream.writeData(Buffer.from('so far'), false);
  });
  const socket = await dial(served.port);
  socket.write('POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n');
  await once(socket, 'data');
  socket.write('g\r\n');
  await once(socket, 'end');
  expect(served.malformed).toEqual(['chunkSize']);
  expect(served.said.at(-1)).toBe('reset malformed no');
});
