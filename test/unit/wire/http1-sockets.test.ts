// Both HTTP/1.1 roles over real sockets on loopback: framing, keep-alive, pipelining, tunnels, refusals and the retry advice.

import { once } from 'node:events';
import type { Socket } from 'node:net';
import { describe, expect, test } from 'vitest';
import { serveHttp1 } from '../../../sidecar/wire/http1/server.ts';
import { WireSocket } from '../../../sidecar/wire/socket.ts';
import type { HttpStream, StreamEvents } from '../../../sidecar/wire/stream.ts';
import { Head } from '../../../sidecar/wire/stream.ts';
import { memoryWire } from '../../conformance/http1/harness.ts';
import { connect, dial, exchange, get, listen, Recorder, serve } from './http1-peers.ts';

const GET = 'GET / HTTP/1.1\r\nHost: a\r\n';

describe('an HTTP/1.1 server connection', () => {
  test('answers pipelined requests in order, and closes when asked', async () => {
    let count = 0;
    const served = await serve((stream, event) => {
      if (!event.startsWith('GET')) return;
      const body = Buffer.from(`n${++count}`);
      const reply = (): void => {
        stream.writeHead(Head.response(200, ['content-length', '2']), false);
        stream.writeData(body, true);
      };
      // The first answer comes last: order is the codec's work.
      if (count === 1) setImmediate(reply);
      else reply();
    });
    const text = await exchange(served.port, `${GET}\r\n${GET}\r\n${GET}Connection: close\r\n\r\n`, null);
    const one = 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n';
    expect(text).toBe(`${one}\r\nn1${one}\r\nn2${one}connection: close\r\n\r\nn3`);
  });

  test('writes chunks and trailers for a body of unknown length, after relaying 100', async () => {
    const served = await serve((stream, event) => {
      if (event.startsWith('POST')) stream.writeHead(Head.response(100, []), false);
      if (event !== 'trailers x=1') return;
      stream.writeHead(Head.response(200, []), false);
      stream.writeData(Buffer.from('abc'), false);
      stream.writeEnd(['grpc-status', '0']);
    });
    const request = 'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nz\r\n0\r\nx: 1\r\n\r\n';
    const text = await exchange(served.port, request, '\r\n0\r\ngrpc-status: 0\r\n\r\n');
    expect(text).toBe(
      'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\ngrpc-status: 0\r\n\r\n',
    );
    expect(served.said).toEqual(['POST / a', 'data z', 'trailers x=1']);
  });

  test.each([
    ['400', 'spaceBeforeColon', `${GET}X : y\r\n\r\n`],
    ['414', 'uriTooLong', `GET /${'a'.repeat(9000)} HTTP/1.1\r\nHost: a\r\n\r\n`],
    ['431', 'tooManyFields', `${GET}${'x: y\r\n'.repeat(101)}\r\n`],
  ])('answers %s and closes for %s', async (status, reason, bytes) => {
    const served = await serve(() => {});
    const text = await exchange(served.port, bytes, null);
    expect(text.startsWith(`HTTP/1.1 ${status} `)).toBe(true);
    expect(text).toContain('connection: close\r\n');
    const [head = '', body = ''] = text.split('\r\n\r\n');
    // A client that knows no charset reads it, and one that counts bytes gets as many as were announced.
    expect(body).toMatch(new RegExp(`^${reason} \\(RFC \\d+ section [\\d.]+\\)\\n$`));
    expect(head).toContain(`content-type: text/plain; charset=utf-8\r\ncontent-length: ${Buffer.byteLength(body)}\r\n`);
    expect(served.malformed).toEqual([reason]);
    expect(served.said).toEqual([]);
  });

  test('an early answer reaches the client whole, then the connection ends', async () => {
    const served = await serve((stream, event) => {
      if (event.startsWith('POST')) stream.writeHead(Head.response(413, []), true);
    });
    const text = await exchange(served.port, 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99\r\n\r\nabc', null);
    expect(text).toBe('HTTP/1.1 413 Content Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n');
  });

  test.each([
    ['with the whole request read', `${GET}\r\n`],
    ['with half the request still to come', 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99\r\n\r\nabc'],
  ])('a head that closes is the last of its connection, %s', async (_name, request) => {
    const served = await serve((stream, event) => {
      if (event.startsWith('data')) return;
      const head = Head.response(400, []);
      head.closes = true;
      stream.writeHead(head, false);
      stream.writeData(Buffer.from('no'), true);
    });
    const text = await exchange(served.port, `${request}${GET}\r\n`, null);
    expect(text).toBe(
      'HTTP/1.1 400 Bad Request\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n2\r\nno\r\n0\r\n\r\n',
    );
    expect(served.said.filter((event) => event.startsWith('GET'))).toHaveLength(request.startsWith('GET') ? 1 : 0);
  });

  test.each([
    ['in the middle of its request', `POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc`, 'fin', false],
    ['with a reset', `${GET}\r\n`, 'reset', false],
    ['behind a whole request where FIN cancels', `${GET}\r\n`, 'fin', true],
  ])('a client that goes away %s cancels it', async (_name, bytes, how, finCancels) => {
    const gone = Promise.withResolvers<string>();
    const client = Promise.withResolvers<Socket>();
    const served = await serve(
      (_stream, event) => {
        if (event.startsWith('reset')) gone.resolve(event);
        else void client.promise.then((socket) => (how === 'fin' ? socket.end() : socket.resetAndDestroy()));
      },
      { finCancels },
    );
    const socket = await dial(served.port);
    socket.write(bytes);
    client.resolve(socket);
    expect(await gone.promise).toBe('reset cancelled no');
  });

  test('a client that half-closes behind its requests gets every answer, then the end', async () => {
    const served = await serve((stream, event) => {
      if (event.startsWith('GET')) setImmediate(() => stream.writeHead(Head.response(204, []), true));
    });
    const socket = await dial(served.port);
    socket.end(`${GET}\r\n${GET}\r\n`);
    let text = '';
    for await (const chunk of socket) text += (chunk as Buffer).toString('latin1');
    expect(text).toBe('HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n');
  });

  test.each(['GET / HT', 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc'])(
    'the answer to a whole request reaches a client whose FIN cuts off the next: %j',
    async (half) => {
      const wire = memoryWire();
      const streams: HttpStream[] = [];
      const accept = (stream: HttpStream): StreamEvents => {
        streams.push(stream);
        return new Recorder();
      };
      serveHttp1(wire.socket, accept, { scheme: 'http', onMalformed() {}, onClose() {} });
      await wire.deliver(`${GET}\r\n${half}`, 'whole');
      await wire.fin();
      streams[0]?.writeHead(Head.response(204, []), true);
      await wire.settled();
      expect(wire.written()).toBe('HTTP/1.1 204 No Content\r\n\r\n');
      expect(wire.isOver()).toBe(true);
    },
  );

  test('tells a slow client to wait, and goes on when it reads', async () => {
    const block = Buffer.alloc(300 * 1024, 'x');
    const room: boolean[] = [];
    const drained = Promise.withResolvers<void>();
    const port = await listen((socket) => {
      const accept = (stream: HttpStream): StreamEvents => {
        const events: StreamEvents = new Recorder(() => {
          stream.writeHead(Head.response(200, []), false);
          room.push(stream.writeData(block, false));
        });
        events.onDrain = () => {
          stream.writeEnd(null);
          drained.resolve();
        };
        return events;
      };
      serveHttp1(new WireSocket(socket), accept, { scheme: 'http', onMalformed() {}, onClose() {} });
    });
    const text = await exchange(port, `${GET}\r\n`, '0\r\n\r\n');
    await drained.promise;
    expect(room).toEqual([false]);
    expect(text.length).toBeGreaterThan(block.length);
  });

  test('ends the connection after answering HTTP/1.0', async () => {
    const served = await serve((stream) => {
      stream.writeHead(Head.response(200, []), false);
      stream.writeData(Buffer.from('abc'), true);
    });
    const text = await exchange(served.port, 'GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n', null);
    expect(text).toBe('HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nabc');
  });

  test('HTTP/1.0 hears no informational response and no chunk (RFC 9110 §15.2, RFC 9112 §6.1)', async () => {
    const served = await serve((stream) => {
      for (const status of [100, 103]) stream.writeHead(Head.response(status, []), false);
      stream.writeHead(Head.response(200, []), false);
      stream.writeData(Buffer.from('abc'), false);
      stream.writeEnd(['x-sum', '1']);
    });
    const text = await exchange(served.port, 'GET / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n', null);
    expect(text).toBe('HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nabc');
  });

  test('draining ends an idle connection at once', async () => {
    const served = await serve((stream) => stream.writeHead(Head.response(200, []), true));
    const socket = await dial(served.port);
    socket.write(`${GET}\r\n`);
    await once(socket, 'data');
    served.connections[0]?.drain();
    await once(socket, 'end');
    expect(served.connections[0]?.idle).toBe(true);
  });

  test('an upgrade becomes a tunnel with half-close', async () => {
    const served = await serve((stream, event) => {
      if (event.startsWith('GET')) stream.writeHead(new Head('', '', '', '', 101, [], 'echo'), false);
      else if (event.startsWith('data')) stream.writeData(Buffer.from(event.slice(5)), false);
      else if (event === 'end') stream.writeData(Buffer.from('bye'), true);
    });
    const socket = await dial(served.port);
    socket.write(`${GET}Connection: upgrade\r\nUpgrade: echo\r\n\r\nping`);
    socket.end();
    let text = '';
    for await (const chunk of socket) text += (chunk as Buffer).toString('latin1');
    expect(text).toBe('HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\npingbye');
  });
});

describe('an HTTP/1.1 client connection', () => {
  test('is reused after a complete response', async () => {
    const port = await listen((socket) =>
      socket.on('data', () => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi')),
    );
    const { connection, idled } = await connect(port);
    for (let i = 1; i <= 2; i++) {
      const events = new Recorder();
      connection.open(events).writeHead(get(), true);
      expect(connection.idle).toBe(false);
      await events.over;
      expect(events.said).toEqual(['200', 'data hi']);
      expect(idled()).toBe(i);
    }
    expect(connection.idle).toBe(true);
  });

  test.each([
    ['no answer on a fresh connection', '', 'reset connectionClosed no'],
    ['half an answer', 'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab', 'reset connectionClosed no'],
    ['nonsense', 'SSH-2.0\r\n', 'reset protocolError no'],
    ['an answer that the close ends', 'HTTP/1.1 200 OK\r\n\r\nab', 'end'],
  ])('an upstream that gives %s', async (_name, bytes, last) => {
    const port = await listen((socket) => socket.on('data', () => socket.end(bytes, 'latin1')));
    const { connection, closed } = await connect(port);
    const events = new Recorder();
    connection.open(events).writeHead(get(), true);
    await events.over;
    expect(events.said.at(-1)).toBe(last);
    await closed;
    expect(connection.idle).toBe(false);
  });

  test('a reused connection that dies before any byte advises a retry', async () => {
    let count = 0;
    const port = await listen((socket) =>
      socket.on('data', () => (++count === 1 ? socket.write('HTTP/1.1 204 X\r\n\r\n') : socket.destroy())),
    );
    const { connection } = await connect(port);
    const first = new Recorder();
    connection.open(first).writeHead(get(), true);
    await first.over;
    const second = new Recorder();
    connection.open(second).writeHead(get(), true);
    await second.over;
    expect(second.said).toEqual(['reset connectionClosed reusedOnly']);
  });

  test('any byte on an idle connection closes it, and a request then is certainly unsent', async () => {
    const port = await listen((socket) => socket.write('HTTP/1.1 408 Timeout\r\n\r\n'));
    const { connection, closed } = await connect(port);
    await closed;
    const events = new Recorder();
    connection.open(events).writeHead(get(), true);
    await events.over;
    expect(events.said).toEqual(['reset connectionClosed yes']);
  });

  test.each(['HTTP/1.1 200 OK\r\nContent-Le', 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi'])(
    'bytes that come before a request has left answer nobody: %j',
    async (stray) => {
      const upstream = Promise.withResolvers<Socket>();
      const port = await listen((socket) => upstream.resolve(socket));
      const { connection, closed } = await connect(port);
      const peer = await upstream.promise;
      // From the loop's check phase: the bytes are read in the next poll, and the request is written behind it.
      await new Promise((resolve) => setImmediate(resolve));
      const events = new Recorder();
      connection.open(events).writeHead(get(), true);
      peer.write(stray);
      await events.over;
      expect(events.said).toEqual(['reset connectionClosed yes']);
      await closed;
    },
  );

  test('an early answer arrives whole, and the connection is not reused', async () => {
    const port = await listen((socket) =>
      socket.once('data', () => socket.write('HTTP/1.1 413 X\r\nContent-Length: 0\r\n\r\n')),
    );
    const { connection, closed, idled } = await connect(port);
    const events = new Recorder();
    connection.open(events).writeHead(Head.request('POST', 'http', 'a', '/', ['content-length', '9']), false);
    await closed;
    expect(events.said).toEqual(['413']);
    expect(idled()).toBe(0);
  });
});
