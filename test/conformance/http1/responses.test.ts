// The client role against every row of the response tables: what is refused, by which rule, what is understood, and
// whether the connection may carry another request.

import { describe, expect, test } from 'vitest';
import { Http1ClientConnection } from '../../../sidecar/wire/http1/client.ts';
import { Head } from '../../../sidecar/wire/stream.ts';
import { Heard, linesOf, memoryWire } from './harness.ts';
import type { AcceptedResponse, ResponseRow } from './tables.ts';
import { RESPONSES, textOf } from './tables.ts';

interface Outcome {
  accepted: Required<AcceptedResponse> | null;
  refused: string[];
  failed: string;
  reusable: boolean;
}

function wordsOf({ head, interim, body, trailers, isEnded }: Heard): Required<AcceptedResponse> | null {
  if (head === null) return null;
  const { status, protocol, headers } = head;
  return { status, interim, fields: linesOf(headers), body, trailers, upgrade: protocol, unfinished: !isEnded };
}

async function ask(row: ResponseRow, cut: 'whole' | 'byte by byte'): Promise<Outcome> {
  const wire = memoryWire();
  const refused: string[] = [];
  const connection = new Http1ClientConnection(wire.socket, {
    onClose() {},
    onIdle() {},
    onMalformed: (reason) => refused.push(reason),
  });
  const heard = new Heard();
  const { method = 'GET', asked = '' } = row;
  const request = Head.request(method, 'http', 'a:1', method === 'CONNECT' ? '' : '/', []);
  request.protocol = asked;
  connection.open(heard).writeHead(request, asked === '' && method !== 'CONNECT');
  // The request is on its way before the answer comes.
  await wire.settled();
  await wire.deliver(textOf(row.bytes), cut);
  if (row.fin === true) await wire.fin();
  const failed = heard.error === null ? '' : heard.error.kind;
  return { accepted: wordsOf(heard), refused, failed, reusable: connection.idle };
}

function expected(row: ResponseRow): Outcome {
  const { accepted, refused } = row;
  const whole = {
    status: accepted?.status ?? 0,
    interim: [...(accepted?.interim ?? [])],
    fields: [...(accepted?.fields ?? [])],
    body: textOf(accepted?.body ?? ''),
    trailers: [...(accepted?.trailers ?? [])],
    upgrade: accepted?.upgrade ?? '',
    unfinished: accepted?.unfinished ?? false,
  };
  const isCut = row.fin === true && (accepted === undefined || whole.unfinished);
  return {
    accepted: accepted === undefined ? null : whole,
    refused: refused === undefined ? [] : [refused],
    failed: refused !== undefined ? 'protocolError' : isCut ? 'connectionClosed' : '',
    reusable: row.reusable ?? false,
  };
}

describe.each(['whole', 'byte by byte'] as const)('the client role, given bytes %s', (cut) => {
  test.each(RESPONSES.map((row) => [row.name, row.cite, row] as const))('%s (%s)', async (_name, _cite, row) => {
    expect(await ask(row, cut)).toEqual(expected(row));
  });
});
