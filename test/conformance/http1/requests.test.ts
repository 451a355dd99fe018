// The server role against every row of the request tables: what is refused, by which rule, and what is understood.

import { describe, expect, test } from 'vitest';
import { serveHttp1 } from '../../../sidecar/wire/http1/server.ts';
import { Head } from '../../../sidecar/wire/stream.ts';
import { Heard, linesOf, memoryWire } from './harness.ts';
import type { AcceptedRequest, RequestRow } from './tables.ts';
import { REQUESTS, textOf } from './tables.ts';

interface Outcome {
  accepted: AcceptedRequest[];
  refused: string[];
  statuses: number[];
  closes: boolean;
}

function wordsOf({ head, body, trailers, isEnded }: Heard): AcceptedRequest {
  if (head === null) throw new Error('a stream without a head');
  const { method, scheme, authority, path, protocol, headers } = head;
  const isWaiting = method === 'CONNECT' || protocol !== '';
  return {
    line: [method, scheme, authority, path].map((part) => (part === '' ? '-' : part)).join(' '),
    fields: linesOf(headers),
    body,
    trailers,
    upgrade: protocol,
    unfinished: !isEnded && !isWaiting,
  };
}

/** No tunnel is opened: what a client sends before its answer is then seen for what it is. */
const answerTo = (method: string | undefined): number => (method === 'CONNECT' ? 403 : 204);

/** Answers every request at its end, as an application behind us would. */
async function serve(bytes: string, cut: 'whole' | 'byte by byte'): Promise<Outcome> {
  const wire = memoryWire();
  const heard: Heard[] = [];
  const refused: string[] = [];
  serveHttp1(
    wire.socket,
    (stream) => {
      const events = new Heard(({ head }) => stream.writeHead(Head.response(answerTo(head?.method), []), true));
      heard.push(events);
      return events;
    },
    { scheme: 'http', onMalformed: (reason) => refused.push(reason), onClose() {} },
  );
  await wire.deliver(bytes, cut);
  const statuses = [...wire.written().matchAll(/^HTTP\/1\.1 (\d+)/gm)].map((match) => Number(match[1]));
  return { accepted: heard.map(wordsOf), refused, statuses, closes: wire.isOver() };
}

function expected(row: RequestRow): Outcome {
  const accepted = (row.accepted ?? []).map((request) => ({
    line: request.line,
    fields: [...(request.fields ?? [])],
    body: textOf(request.body ?? ''),
    trailers: [...(request.trailers ?? [])],
    upgrade: request.upgrade ?? '',
    unfinished: request.unfinished ?? false,
  }));
  const statuses = accepted.filter((request) => !request.unfinished).map(({ line }) => answerTo(line.split(' ')[0]));
  if (row.refused !== undefined) statuses.push(row.status ?? 400);
  const refused = row.refused === undefined ? [] : [row.refused];
  return { accepted, refused, statuses, closes: row.refused !== undefined || row.closes === true };
}

describe.each(['whole', 'byte by byte'] as const)('the server role, given bytes %s', (cut) => {
  test.each(REQUESTS.map((row) => [row.name, row.cite, row] as const))('%s (%s)', async (_name, _cite, row) => {
    expect(await serve(textOf(row.bytes), cut)).toEqual(expected(row));
  });
});
