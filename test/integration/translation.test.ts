// HTTP/1.1 and HTTP/2 on either side of one sidecar and of two: Node's own clients and servers, in every pair. What a
// message means arrives whole, whatever it was written in; what belongs to one connection stays there.

import { once } from 'node:events';
import http from 'node:http';
import http2 from 'node:http2';
import { text } from 'node:stream/consumers';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { Protocol } from '../../proto/gen/weft/policy/v1/service_pb.js';
import { Apps } from '../support/apps.ts';
import { type HopCount, type Hops, startHops } from '../support/hops.ts';
import { until } from '../support/worker-rig.ts';

type Version = 'HTTP/1.1' | 'HTTP/2';

/** What the application saw of a request. */
interface Seen {
  readonly method: string;
  readonly path: string;
  readonly host: string;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: string;
  readonly trailers: Record<string, unknown>;
}

interface Call {
  readonly method?: string;
  readonly path?: string;
  readonly headers?: Record<string, string | string[]>;
  readonly body?: string;
  readonly trailers?: Record<string, string>;
}

interface Answer {
  readonly status: number;
  readonly headers: Record<string, unknown>;
  readonly body: string;
  readonly trailers: Record<string, unknown>;
  /** Statuses of 1xx heads, and the `link` of a 103. */
  readonly interim: readonly (number | string)[];
}

/** What the calls of one application did that no answer shows. */
interface Application {
  readonly port: number;
  readonly continued: string[];
  readonly aborted: string[];
}

async function application(apps: Apps, version: Version): Promise<Application> {
  const continued: string[] = [];
  const aborted: string[] = [];
  const handle = async (request: http.IncomingMessage, response: http.ServerResponse): Promise<void> => {
    const path = request.url ?? '';
    if (path === '/endless') {
      response.once('close', () => aborted.push(path));
      response.writeHead(200);
      // A client may end its side and still wait, so its departure shows only to whoever writes on.
      const more = (): void => void (response.destroyed || response.write('more', () => setImmediate(more)));
      return more();
    }
    if (path === '/cut') {
      response.writeHead(200).write('half');
      return void setImmediate(() => response.destroy());
    }
    const bare = /^\/bare\/(\d+)/.exec(path);
    if (bare !== null) return void response.writeHead(Number(bare[1])).end();
    if (path === '/hints') response.writeEarlyHints({ link: '</style.css>; rel=preload' });
    const body = await text(request);
    const host = request.headers.host ?? String((request as unknown as http2.Http2ServerRequest).authority);
    const { method = '', headers, trailers } = request;
    response.setHeader('content-type', 'application/json');
    response.setHeader('set-cookie', ['one=1', 'two=2']);
    if (method === 'HEAD') return void response.end();
    response.setHeader('trailer', 'x-sum');
    if (version === 'HTTP/1.1') response.setHeader('connection', 'x-private');
    if (version === 'HTTP/1.1') response.setHeader('x-private', 'for the next hop alone');
    response.write(JSON.stringify({ method, path, host, headers, body, trailers } satisfies Seen));
    response.addTrailers({ 'x-sum': String(body.length) });
    response.end();
  };
  const server = version === 'HTTP/1.1' ? http.createServer() : http2.createServer();
  const listener = (request: unknown, response: unknown): void =>
    void handle(request as http.IncomingMessage, response as http.ServerResponse);
  server.on('request', listener);
  server.on('checkContinue', (request: http.IncomingMessage, response: http.ServerResponse) => {
    continued.push(request.url ?? '');
    response.writeContinue();
    listener(request, response);
  });
  return { port: await apps.listen(server), continued, aborted };
}

const ended: (() => void)[] = [];
afterEach(() => {
  for (const end of ended.splice(0)) end();
});

/** One call as `echo`; a body waits for 100 when the call expects it. */
function call(version: Version, port: number, what: Call): Promise<Answer> {
  return version === 'HTTP/1.1' ? callHttp1(port, what) : callHttp2(port, what);
}

async function callHttp1(port: number, what: Call): Promise<Answer> {
  const { method = 'GET', path = '/', headers = {}, body, trailers } = what;
  const interim: (number | string)[] = [];
  const request = http.request({ host: '127.0.0.1', port, method, path, agent: false, headers: { host: 'echo' } });
  for (const [name, value] of Object.entries(headers)) request.setHeader(name, value);
  if (trailers !== undefined) request.setHeader('trailer', Object.keys(trailers).join(', '));
  request.on('information', ({ statusCode, headers: fields }) => {
    interim.push(statusCode);
    if (fields['link'] !== undefined) interim.push(String(fields['link']));
  });
  const answered = once(request, 'response') as Promise<[http.IncomingMessage]>;
  if (headers['expect'] !== undefined) {
    request.flushHeaders();
    await once(request, 'continue');
  }
  if (body !== undefined) request.write(body);
  if (trailers !== undefined) request.addTrailers(trailers);
  request.end();
  const [response] = await answered;
  const { statusCode: status = 0 } = response;
  return {
    status,
    headers: response.headers,
    body: await text(response),
    trailers: response.trailers,
    interim,
  };
}

async function callHttp2(port: number, what: Call): Promise<Answer> {
  const { method = 'GET', path = '/', headers = {}, body, trailers } = what;
  const session = http2.connect(`http://127.0.0.1:${port}`);
  ended.push(() => session.destroy());
  const head = { ':method': method, ':path': path, ':authority': 'echo', ...headers };
  const hasBody = body !== undefined || trailers !== undefined;
  const stream = session.request(head, { endStream: !hasBody, waitForTrailers: trailers !== undefined });
  if (trailers !== undefined) stream.on('wantTrailers', () => stream.sendTrailers(trailers));
  const interim: (number | string)[] = [];
  stream.on('headers', (fields) => {
    interim.push(Number(fields[':status']));
    if (fields['link'] !== undefined) interim.push(String(fields['link']));
  });
  let received: Record<string, unknown> = {};
  stream.on('trailers', (fields) => {
    received = fields;
  });
  const answered = once(stream, 'response') as Promise<[http2.IncomingHttpHeaders]>;
  if (headers['expect'] !== undefined) await once(stream, 'continue');
  if (hasBody) stream.end(body);
  const [fields] = await answered;
  return { status: Number(fields[':status']), headers: fields, body: await text(stream), trailers: received, interim };
}

describe.each<[HopCount, Version]>([
  [1, 'HTTP/1.1'],
  [1, 'HTTP/2'],
  [2, 'HTTP/1.1'],
  [2, 'HTTP/2'],
])('with sidecars in between: %i, to an application that speaks %s', (count, spoken) => {
  const apps = new Apps();
  let app: Application;
  let hops: Hops;
  beforeAll(async () => {
    app = await application(apps, spoken);
    hops = await startHops(count, app.port, spoken === 'HTTP/2' ? Protocol.HTTP2 : Protocol.HTTP1);
  });
  afterAll(async () => {
    await hops.close();
    apps.close();
  });

  describe.each<Version>(['HTTP/1.1', 'HTTP/2'])('from a client that speaks %s', (version) => {
    /** What the application saw of the call. */
    const seenOf = async (what: Call): Promise<Seen> =>
      JSON.parse((await call(version, hops.outboundPort, what)).body) as Seen;

    test('method, path and host arrive as they were sent, the host as Host or :authority', async () => {
      const seen = await seenOf({ method: 'PUT', path: '/a/b?c=d%20e&f', body: 'hello' });
      expect(seen).toMatchObject({ method: 'PUT', path: '/a/b?c=d%20e&f', host: 'echo', body: 'hello' });
    });

    test('trailers pass both ways', async () => {
      const answer = await call(version, hops.outboundPort, {
        method: 'POST',
        body: 'hello',
        trailers: { 'x-digest': 'abc' },
      });
      expect((JSON.parse(answer.body) as Seen).trailers).toEqual({ 'x-digest': 'abc' });
      expect(answer.trailers).toMatchObject({ 'x-sum': '5' });
    });

    test('te: trailers arrives, and nothing else of te', async () => {
      const connection = version === 'HTTP/1.1' ? { connection: 'te' } : {};
      expect((await seenOf({ headers: { te: 'trailers', ...connection } })).headers).toMatchObject({ te: 'trailers' });
      expect((await seenOf({})).headers).not.toHaveProperty('te');
    });

    test('crumbs of a cookie are one field again, and set-cookie stays as many', async () => {
      const cookie = version === 'HTTP/2' ? ['a=1', 'b=2', 'c=3'] : 'a=1; b=2; c=3';
      const answer = await call(version, hops.outboundPort, { headers: { cookie } });
      expect((JSON.parse(answer.body) as Seen).headers.cookie).toBe('a=1; b=2; c=3');
      expect(answer.headers['set-cookie']).toEqual(['one=1', 'two=2']);
    });

    test('fields of one connection go no further, in either direction', async () => {
      const hop = version === 'HTTP/1.1' ? { connection: 'x-hop', 'x-hop': '1', 'keep-alive': 'timeout=5' } : {};
      const answer = await call(version, hops.outboundPort, { headers: { ...hop, 'x-end-to-end': '1' } });
      const { headers } = JSON.parse(answer.body) as Seen;
      expect(headers).toMatchObject({ 'x-end-to-end': '1' });
      for (const name of ['x-hop', 'keep-alive', 'transfer-encoding']) expect(headers).not.toHaveProperty(name);
      expect(answer.headers).not.toHaveProperty('x-private');
    });

    test('103 comes before the answer, with its fields', async () => {
      const answer = await call(version, hops.outboundPort, { path: '/hints' });
      expect([answer.status, ...answer.interim]).toEqual([200, 103, '</style.css>; rel=preload']);
    });

    test('a body that waits for 100 is sent when the application says so', async () => {
      const before = app.continued.length;
      const seen = await seenOf({ method: 'POST', path: '/wait', headers: { expect: '100-continue' }, body: 'late' });
      expect([seen.body, app.continued.slice(before)]).toEqual(['late', ['/wait']]);
    });

    test.each([204, 304, 404, 503])('an answer %i without a body ends', async (status) => {
      const answer = await call(version, hops.outboundPort, { path: `/bare/${status}` });
      expect([answer.status, answer.body]).toEqual([status, '']);
    });

    test('HEAD has the fields and no body', async () => {
      const answer = await call(version, hops.outboundPort, { method: 'HEAD' });
      expect([answer.status, answer.headers['content-type'], answer.body]).toEqual([200, 'application/json', '']);
    });

    test('a client that goes away ends the work of the application', async () => {
      const before = app.aborted.length;
      if (version === 'HTTP/1.1') {
        const request = http.get({ host: '127.0.0.1', port: hops.port, path: '/endless', agent: false });
        const [response] = (await once(request, 'response')) as [http.IncomingMessage];
        response.on('error', () => {});
        response.destroy();
      } else {
        const session = http2.connect(`http://127.0.0.1:${hops.port}`);
        ended.push(() => session.destroy());
        const stream = session.request({ ':path': '/endless' });
        await once(stream, 'response');
        stream.close(http2.constants.NGHTTP2_CANCEL);
      }
      await until('the application hears of it', () => app.aborted.length > before);
    });

    test('an answer that the application cuts is no whole one', async () => {
      await expect(call(version, hops.outboundPort, { path: '/cut' })).rejects.toThrow(/aborted|NGHTTP2_|terminated/);
    });
  });

  test('nothing was contained', async () => {
    for (const sidecar of hops.sidecars) expect(await sidecar.metric('weft_contained_total')).toBe(0);
  });
});
