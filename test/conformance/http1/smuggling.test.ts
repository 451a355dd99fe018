// Request smuggling, end to end: every row of the request tables through real sidecars to a recorder. What arrives there
// is one request for each that was authorized, byte for byte what the authorization decided on, and nothing else.

import { connect } from 'node:net';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { AuthorizationSchema, TelemetrySchema } from '../../../proto/gen/weft/mesh/v1/resources_pb.js';
import { AuthorizationAction } from '../../../proto/gen/weft/policy/v1/authorization_pb.js';
import { endpoint, resource, service, type WorkerRig, workerRig } from '../../support/worker-rig.ts';
import { type Recorder, readRequests, recorder, type SeenRequest } from './recorder.ts';
import type { RequestRow } from './tables.ts';
import { REQUESTS, textOf } from './tables.ts';

const RULE = { services: ['shop/a'] };
/** Anybody may call, but for /admin: what the rows try to smuggle. */
const POLICIES = [
  service('shop/a'),
  resource(AuthorizationSchema, 'shop/open', {
    ...RULE,
    name: 'shop/open',
    action: AuthorizationAction.ALLOW,
    rules: [{}],
  }),
  resource(AuthorizationSchema, 'shop/closed', {
    ...RULE,
    name: 'shop/closed',
    action: AuthorizationAction.DENY,
    rules: [{ to: [{ paths: [{ match: { case: 'prefix', value: '/admin' } }] }] }],
  }),
  resource(TelemetrySchema, 'shop/log', { ...RULE, name: 'shop/log', spec: { accessLog: { samplingPercent: 100 } } }),
];

const SMUGGLED = 'GET /admin HTTP/1.1\r\nHost: a\r\n\r\n';
/** Sent behind a row on the same connection. */
const AFTER = `POST /after HTTP/1.1\r\nHost: a\r\nContent-Length: ${SMUGGLED.length}\r\n\r\n${SMUGGLED}`;
const AFTER_SEEN: Told = { line: 'POST a /after', fields: [], body: SMUGGLED, trailers: [] };

/** What a request tells whoever serves it. */
interface Told {
  line: string;
  fields: string[];
  body: string;
  trailers: string[];
}

let app: Recorder;
let receiver: WorkerRig;
let caller: WorkerRig;

/** Sends the bytes and FIN, as a client may that wants no more than its answers; resolves with these when the connection is gone. */
async function send(port: number, bytes: string): Promise<string> {
  const socket = connect(port, '127.0.0.1');
  // A request that FIN cuts off, or that is refused while more of it comes, may be answered by a reset.
  socket.on('error', () => {});
  let answers = '';
  socket.on('data', (chunk: Buffer) => {
    answers += chunk.toString('latin1');
  });
  socket.end(bytes, 'latin1');
  await new Promise((resolve) => socket.once('close', resolve));
  return answers;
}

/** Clear-text ports tell HTTP/1.1 by the first letter of a method, or an empty line, before its codec hears a byte. */
const isSniffed = (row: RequestRow): boolean => /^[A-Za-z\r\n]/.test(textOf(row.bytes));

/** Names that are refused of callers without an identity, as ours are: see proxy/underscores.ts. */
const isUnderscored = (field: string): boolean => field.slice(0, field.indexOf(':')).includes('_');

/** What of a row goes through to the application. CONNECT is for opaque TCP, which it does not speak. */
function forwarded(row: RequestRow, isRouted: (authority: string, fields: readonly string[]) => boolean): Told[] {
  const told: Told[] = [];
  if (!isSniffed(row)) return told;
  for (const { line, fields = [], body = '', trailers = [], unfinished = false } of row.accepted ?? []) {
    const [method = '', , authority = '', path = ''] = line.split(' ');
    if (unfinished || method === 'CONNECT' || path === '/admin' || !isRouted(authority, fields)) continue;
    if (fields.some(isUnderscored)) continue;
    const host = authority === '-' ? '' : authority;
    const kept = fields.filter((field) => !field.startsWith('content-length:'));
    told.push({ line: `${method} ${host} ${path}`, fields: kept, body: textOf(body), trailers: [...trailers] });
  }
  return told;
}

function told({ method, host, target, fields, body, trailers }: SeenRequest): Told {
  // What the sidecar adds, and what an upgrade and TE are on the next hop.
  const kept = fields.filter((field) => !/^(?:traceparent|connection|upgrade):/.test(field));
  return { line: `${method} ${host} ${target}`, fields: kept, body, trailers: [...trailers] };
}

/** What the receiver's authorization let through, as `METHOD HOST PATH` without the query. */
function authorized(): string[] {
  const passed = receiver.records.filter(({ flag }) => flag === '-');
  return passed.map(({ method, authority, path }) => `${method} ${authority} ${path}`);
}

/** The first of two sidecars knows one Service, and adds a field to heads that are as large as the second takes. */
const hasRoute = (authority: string, fields: readonly string[]): boolean =>
  /^a(?::80)?$/.test(authority) && fields.length < 99 && fields.join('').length < 60_000;

const PATHS: [string, () => number, typeof hasRoute][] = [
  ['one sidecar', () => receiver.inboundPort, () => true],
  ['two sidecars', () => caller.port, hasRoute],
];

/** A hello is for TLS to refuse, and the first of these ports is no HTTP port to it. */
const ROWS = REQUESTS.filter((row) => !textOf(row.bytes).startsWith('\x16'));

describe.each(PATHS)('through %s', (_name, port, isRouted) => {
  beforeEach(async () => {
    app = await recorder();
    receiver = await workerRig([{ service: 'shop/a', port: app.port, servicePort: 0 }]);
    caller = await workerRig();
    expect(await receiver.apply(...POLICIES)).toEqual([]);
    expect(await caller.apply(service('shop/a'), endpoint('shop/a', receiver.inboundPort))).toEqual([]);
  });

  afterEach(async () => {
    await caller.close();
    await receiver.close();
    await app.close();
  });

  /** Rows one after the other, each on its own connection, over the same pool of connections to the application. */
  async function run(rows: readonly RequestRow[], after: string): Promise<void> {
    let answers = '';
    for (const row of rows) answers += `${await send(port(), textOf(row.bytes) + after)}\n`;
    await caller.drain(1_000);
    await receiver.drain(1_000);
    expect(app.wrong).toEqual([]);
    // Each gets its answer, though the client has said FIN long before.
    expect(answers.match(/^HTTP\/1\.1 204 /gm)).toHaveLength(app.seen.length);
    expect(authorized()).toEqual(
      app.seen.map(({ method, host, target }) => `${method} ${host} ${target.split('?')[0]}`),
    );
    expect([...receiver.contained, ...caller.contained]).toEqual([]);
  }

  test('CVE class 6: the application sees one request for each that was authorized', async () => {
    await run(ROWS, '');
    expect(app.seen.map(told)).toEqual(ROWS.flatMap((row) => forwarded(row, isRouted)));
  });

  test('and a request behind it, with a request in its body, is one of its own', async () => {
    const goesOn = ROWS.filter(isSniffed).filter(
      ({ refused, closes, half, accepted = [] }) =>
        refused === undefined &&
        closes !== true &&
        half !== true &&
        !accepted.some(({ unfinished, fields = [] }) => unfinished || fields.some(isUnderscored)),
    );
    await run(goesOn, AFTER);
    expect(app.seen.map(told)).toEqual(goesOn.flatMap((row) => [...forwarded(row, isRouted), AFTER_SEEN]));
  });

  test('CVE class 6: but nothing is read behind a request that ends its connection, or is refused', async () => {
    const ends = ROWS.filter(({ refused, closes }) => refused !== undefined || closes === true);
    await run(ends, AFTER);
    expect(app.seen.map(told)).toEqual(ends.flatMap((row) => forwarded(row, isRouted)));
  });
});

test.each([
  ['two lengths', 'POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\ncontent-length: 0\r\n\r\n'],
  [
    'a length and a coding',
    'POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n',
  ],
  ['a length that is octal to some', 'POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 00\r\n\r\n'],
  ['another coding', 'POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: cow\r\n\r\n'],
  ['an extension of a chunk', 'POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1;a\r\nb\r\n0\r\n\r\n'],
  [
    'a chunk longer than its size',
    'POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1\r\nbc\r\n0\r\n\r\n',
  ],
  ['two Hosts', 'GET / HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n'],
  ['a bare LF', 'GET / HTTP/1.1\r\nhost: a\nx: y\r\n\r\n'],
  ['a bare CR', 'GET / HTTP/1.1\r\nhost: a\rx: y\r\n\r\n'],
  ['a folded line', 'GET / HTTP/1.1\r\nhost: a\r\n x: y\r\n\r\n'],
])('the recorder refuses to read %s', (_name, text) => {
  expect(() => readRequests(text)).toThrow();
});
