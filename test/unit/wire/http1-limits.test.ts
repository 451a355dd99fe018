// What an HTTP/1.1 connection refuses to write, and how long it waits: request smuggling through a field that a
// filter set, slow heads, idle connections. Each case names the class of CVE it stands for.

import { once } from 'node:events';
import { describe, expect, test } from 'vitest';
import { TimerWheel } from '../../../sidecar/base/timer-wheel.ts';
import { ProxyError } from '../../../sidecar/wire/error.ts';
import type { HttpStream } from '../../../sidecar/wire/stream.ts';
import { Head } from '../../../sidecar/wire/stream.ts';
import { connect, dial, exchange, get, listen, Recorder, serve } from './http1-peers.ts';

const GET = 'GET / HTTP/1.1\r\nHost: a\r\n';
const SMUGGLED = 'a\r\n\r\nGET /admin HTTP/1.1\r\nhost: b';

const unsafe: [string, string[]][] = [
  ['CRLF in a value', ['x-a', SMUGGLED]],
  ['a bare LF', ['x-a', 'a\nb']],
  ['a bare CR', ['x-a', 'a\rb']],
  ['NUL', ['x-a', 'a\0b']],
  ['a character that latin1 cuts down to LF', ['x-a', 'a\u010ab']],
  ['CRLF in a name', ['x-a: 1\r\nx-b', '2']],
];

describe('CVE class 9: request smuggling by header injection (CVE-2019-18802, CVE-2023-27493): a filter sets', () => {
  test.each(unsafe)('%s: the request is not sent and the connection stays good', async (_name, headers) => {
    const seen: string[] = [];
    const port = await listen((socket) =>
      socket.on('data', (chunk) => {
        seen.push(chunk.toString('latin1'));
        socket.write('HTTP/1.1 204 X\r\n\r\n');
      }),
    );
    const { connection } = await connect(port);
    const refused = new Recorder();
    const stream = connection.open(refused);
    stream.writeHead(Head.request('GET', 'http', 'a', '/', headers), false);
    stream.writeData(Buffer.from('x'), true);
    expect(refused.said).toEqual([]);
    await refused.over;
    expect(refused.said).toEqual(['reset internal no']);
    expect(refused.error?.detail).toContain('CR, LF, NUL');
    const next = new Recorder();
    connection.open(next).writeHead(get(), true);
    await next.over;
    expect(seen).toEqual(['GET / HTTP/1.1\r\nhost: a\r\n\r\n']);
  });

  test.each(unsafe)('%s: the response is not sent and its owner hears why', async (_name, headers) => {
    const served = await serve((stream, event) => {
      if (event.startsWith('GET')) stream.writeHead(Head.response(200, headers), true);
    });
    expect(await exchange(served.port, `${GET}\r\n`, null).catch(() => '')).toBe('');
    await expect.poll(() => served.said.at(-1)).toBe('reset internal no');
  });

  test.each(unsafe)('%s in trailers: the body does not end', async (_name, trailers) => {
    const served = await serve((stream, event) => {
      if (!event.startsWith('GET')) return;
      stream.writeHead(Head.response(200, []), false);
      stream.writeEnd(trailers);
    });
    expect(await exchange(served.port, `${GET}\r\n`, null).catch(() => '')).not.toContain('\r\n0\r\n');
    await expect.poll(() => served.said.at(-1)).toBe('reset internal no');
  });

  test('its own framing, or a length no two parsers read alike: only the codec’s is sent', async () => {
    const served = await serve((stream, event) => {
      if (!event.startsWith('GET')) return;
      const headers = ['transfer-encoding', 'identity', 'content-length', '0x2', 'content-length', '2'];
      stream.writeHead(Head.response(200, headers), false);
      stream.writeData(Buffer.from('ok'), true);
    });
    const text = await exchange(served.port, `${GET}\r\n`, '0\r\n\r\n');
    expect(text).toBe('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n');
  });
});

test('a body written before its head is a bug of the caller, said aloud, in both roles', async () => {
  const thrown: string[] = [];
  const attempt = (stream: HttpStream): void => {
    for (const write of [() => stream.writeData(Buffer.from('x'), false), () => stream.writeEnd(null)]) {
      try {
        write();
      } catch (error) {
        thrown.push((error as Error).message);
      }
    }
  };
  const served = await serve((stream, event) => {
    if (!event.startsWith('GET')) return;
    attempt(stream);
    stream.writeHead(Head.response(204, []), true);
  });
  const { connection } = await connect(served.port);
  const events = new Recorder();
  const stream = connection.open(events);
  attempt(stream);
  stream.writeHead(get(), true);
  await events.over;
  expect(events.said).toEqual(['204']);
  expect(thrown).toEqual(Array(4).fill('a body was written before its head; call writeHead first'));
});

/** A wheel whose time is moved by hand. */
function handWheel(): { wheel: TimerWheel; pass(ms: number): void } {
  let nowMs = 0;
  const wheel = new TimerWheel({ nowMs: () => nowMs }, { set() {} });
  return {
    wheel,
    pass(ms) {
      nowMs += ms;
      wheel.advance();
    },
  };
}

describe('CVE class 5: slow senders and forgotten connections (CVE-2020-12603, CVE-2020-8663: descriptors held for nothing)', () => {
  test('a head that does not end is answered 408, however often another byte comes', async () => {
    const time = handWheel();
    const served = await serve(() => {}, { wheel: time.wheel });
    const socket = await dial(served.port);
    const answer = once(socket, 'data');
    for (let i = 0; i < 3; i++) {
      const before = served.connections[0]?.idle;
      socket.write(i === 0 ? GET : 'x: y\r\n');
      // Its bytes have arrived once the connection is no longer idle; later ones once a round trip has passed.
      await expect.poll(() => served.connections[0]?.idle === false).toBe(true);
      expect(before).not.toBe(i > 0);
      time.pass(4_000);
    }
    const [bytes] = await answer;
    expect(String(bytes)).toMatch(/^HTTP\/1\.1 408 /);
    expect(served.malformed).toEqual(['headTimeout']);
  });

  test('a request under way is not idle; its connection is, an hour after the answer', async () => {
    const time = handWheel();
    let held: HttpStream | null = null;
    const served = await serve(
      (stream) => {
        held = stream;
      },
      { wheel: time.wheel },
    );
    const socket = await dial(served.port);
    const ended = once(socket, 'end');
    socket.write(`${GET}\r\n`);
    await expect.poll(() => held).not.toBeNull();
    time.pass(4_000_000);
    (held as HttpStream | null)?.writeHead(Head.response(204, []), true);
    await once(socket, 'data');
    await expect.poll(() => time.wheel.armedCount).toBe(1);
    time.pass(3_599_000);
    expect(socket.readableEnded).toBe(false);
    time.pass(1_100);
    await ended;
    expect(served.connections[0]?.idle).toBe(true);
  });

  test('a client that does not read keeps an abandoned answer no longer than a moment', async () => {
    const time = handWheel();
    const closed = Promise.withResolvers<void>();
    const served = await serve(
      (stream, event) => {
        if (!event.startsWith('GET')) return;
        stream.writeHead(Head.response(200, []), false);
        stream.writeData(Buffer.alloc(64 * 1024 * 1024), false);
        queueMicrotask(() => stream.reset(new ProxyError('cancelled', 'local', 'upstream left')));
      },
      { wheel: time.wheel, onClose: closed.resolve },
    );
    const socket = await dial(served.port);
    socket.write(`${GET}\r\n`);
    await once(socket, 'readable');
    await expect.poll(() => time.wheel.armedCount).toBe(1);
    time.pass(2_100);
    await closed.promise;
  });

  test.each([
    ['with a length', 'Content-Length: 100\r\n\r\n', 'abcd', false],
    ['in chunks, of a stranger', 'Transfer-Encoding: chunked\r\n\r\n', '4\r\nabcd\r\n', true],
  ])('a body %s that trickles in is answered 408', async (_what, rest, piece, all) => {
    const served = await serve(() => {});
    const socket = await dial(served.port);
    const data = (): number => served.said.filter((event) => event.startsWith('data')).length;
    const answer = once(socket, 'data');
    socket.write(`POST / HTTP/1.1\r\nHost: a\r\n${rest}${piece}`);
    await expect.poll(data).toBe(1);
    const [connection] = served.connections;
    expect(connection?.pace(10, all)).toBe(0);
    for (const bytes of [4, 4, 4]) {
      const before = data();
      socket.write(piece);
      await expect.poll(data).toBe(before + 1);
      expect(connection?.pace(bytes, all)).toBe(0);
    }
    expect(connection?.pace(1, all)).toBe(1);
    expect(String((await answer)[0])).toMatch(/^HTTP\/1\.1 408 /);
    expect([served.malformed, served.said.at(-1)]).toEqual([['bodyTimeout'], 'reset headerTimeout no']);
  });

  test.each([
    ['the own application streams in chunks', 'Transfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n', false],
    ['is kept back here', 'Content-Length: 100\r\n\r\nabcd', true],
  ])('a body that %s may pause', async (_what, rest, paused) => {
    const served = await serve((stream, event) => {
      if (paused && event.startsWith('data')) stream.pause();
    });
    const socket = await dial(served.port);
    socket.write(`POST / HTTP/1.1\r\nHost: a\r\n${rest}`);
    await expect.poll(() => served.said.at(-1)).toBe('data abcd');
    const [connection] = served.connections;
    expect([connection?.pace(10, false), connection?.pace(10, false)]).toEqual([0, 0]);
  });

  test('no timer outlives its connection', async () => {
    const time = handWheel();
    const served = await serve(() => {}, { wheel: time.wheel });
    const socket = await dial(served.port);
    await expect.poll(() => time.wheel.armedCount).toBe(1);
    socket.write('GET');
    socket.resetAndDestroy();
    await expect.poll(() => time.wheel.armedCount).toBe(0);
  });
});
