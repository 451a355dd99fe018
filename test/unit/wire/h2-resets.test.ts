// RST_STREAM through the hop, both ways, between Node's HTTP/2 and ours: what each code becomes, and what is
// never passed on.

import { once } from 'node:events';
import http2, { constants } from 'node:http2';
import { afterEach, expect, test } from 'vitest';
import { ProxyError } from '../../../sidecar/wire/error.ts';
import { serveHttp2 } from '../../../sidecar/wire/http2/server.ts';
import { WireSocket } from '../../../sidecar/wire/socket.ts';
import { Head, type StreamAcceptor } from '../../../sidecar/wire/stream.ts';
import { Apps } from '../../support/apps.ts';
import { type RelayProxy, relayProxy } from '../../support/relay-proxy.ts';

let apps = new Apps();
let proxy: RelayProxy | null = null;
afterEach(async () => {
  apps.close();
  apps = new Apps();
  await proxy?.close();
  proxy = null;
});

/** A client of a relay in front of `port`. */
async function clientOf(port: number): Promise<http2.ClientHttp2Session> {
  proxy = await relayProxy('http2', 'http2', [port]);
  const client = http2.connect(`http://127.0.0.1:${proxy.port}`);
  client.on('error', () => {});
  apps.onClose(() => client.destroy());
  return client;
}

/** Waits for the end of a stream, whatever it is. */
function closed(stream: http2.Http2Stream): Promise<unknown> {
  stream.on('error', () => {});
  return new Promise((over) => stream.once('close', over).resume());
}

const CALL = { ':method': 'POST', ':path': '/', 'content-type': 'application/grpc', te: 'trailers' };

// [code, what follows a head that was relayed (RFC 9113 §7), grpc-status of the reply where none was (gRPC over HTTP/2, "Errors")]
test.each([
  ['NO_ERROR before the response is whole', 0, 2, '13'],
  ['PROTOCOL_ERROR', 1, 2, '13'],
  ['INTERNAL_ERROR', 2, 2, '13'],
  ['FLOW_CONTROL_ERROR', 3, 2, '13'],
  ['SETTINGS_TIMEOUT', 4, 2, '13'],
  ['STREAM_CLOSED', 5, 2, '14'],
  ['FRAME_SIZE_ERROR', 6, 2, '13'],
  ['REFUSED_STREAM', 7, 2, '14'],
  ['CANCEL', 8, 8, '1'],
  ['COMPRESSION_ERROR', 9, 2, '13'],
  ['CONNECT_ERROR', 10, 10, '13'],
  ['ENHANCE_YOUR_CALM', 11, 11, '8'],
  ['INADEQUATE_SECURITY', 12, 2, '7'],
  ['HTTP_1_1_REQUIRED', 13, 2, '14'],
])('an upstream that resets with %s', async (_name, code, relayed, grpcStatus) => {
  const upstream = await apps.tcp((socket) => {
    const accept: StreamAcceptor = (stream) => ({
      onHead(head) {
        if (head.path !== '/before') {
          stream.writeHead(Head.response(200, []), false);
          stream.writeData(Buffer.from('half'), false);
        }
        stream.reset(new ProxyError('internal', 'local', 'as the table says', 'no', null, code));
      },
      onData() {},
      onEnd() {},
      onDrain() {},
      onReset() {},
    });
    serveHttp2(new WireSocket(socket), accept, { scheme: 'http', onMalformed() {}, onGuard() {}, onClose() {} });
  });
  const client = await clientOf(upstream);
  const before = client.request({ ...CALL, ':path': '/before' }, { endStream: true });
  const [head] = await once(before.resume(), 'response');
  expect(head['grpc-status']).toBe(grpcStatus);
  const behind = client.request(CALL);
  await closed(behind);
  expect(behind.rstCode).toBe(relayed);
});

test.each([
  ['NO_ERROR', 0, 8],
  ['PROTOCOL_ERROR', 1, 8],
  ['INTERNAL_ERROR', 2, 8],
  ['REFUSED_STREAM', 7, 8],
  ['CANCEL', 8, 8],
  ['ENHANCE_YOUR_CALM', 11, 11],
])('a client that resets with %s', async (_name, code, relayed) => {
  const upstream = Promise.withResolvers<http2.ServerHttp2Stream>();
  const client = await clientOf(await apps.http2(upstream.resolve));
  const request = client.request(CALL);
  request.on('error', () => {});
  request.write('x');
  const stream = await upstream.promise;
  request.close(code);
  await closed(stream);
  expect(stream.rstCode).toBe(relayed);
});

test('a response that is whole before its request asks upstream to stop with NO_ERROR, and reaches the client', async () => {
  const upstream = Promise.withResolvers<http2.ServerHttp2Stream>();
  const port = await apps.http2((stream) => {
    upstream.resolve(stream);
    stream.respond({ ':status': 200 });
    stream.end('early');
  });
  const client = await clientOf(port);
  const request = client.request(CALL);
  request.write('x');
  let body = '';
  request.on('data', (chunk) => {
    body += chunk;
  });
  const stream = await upstream.promise;
  await closed(stream);
  expect(stream.rstCode).toBe(constants.NGHTTP2_NO_ERROR);
  // The client is asked the same: what it would still send nobody reads, and the stream would stay for ever.
  await closed(request);
  expect([request.rstCode, body]).toEqual([constants.NGHTTP2_NO_ERROR, 'early']);
});
