// What grpc-js sends when a proxy variable names the sidecar: CONNECT, and HTTP/2 inside. The call is the Service's all
// the same, under its Route.
import { Client, credentials, Server, ServerCredentials, status } from '@grpc/grpc-js';
import { expect, test } from 'vitest';
import { Protocol, TlsMode } from '../../proto/gen/weft/policy/v1/service_pb.js';
import { useApps, useWorkerRig } from '../support/use.ts';
import { endpoint, logged, route, service, until } from '../support/worker-rig.ts';

const PATH = '/shop.v1.Echo/Say';
const same = (bytes: Buffer): Buffer => bytes;

const rig = useWorkerRig();
const apps = useApps();

async function echo(): Promise<number> {
  const server = new Server();
  const definition = { path: PATH, requestStream: false, responseStream: false };
  server.addService(
    {
      say: {
        ...definition,
        requestSerialize: same,
        requestDeserialize: same,
        responseSerialize: same,
        responseDeserialize: same,
      },
    },
    {
      say: (call: { request: Buffer }, done: (error: null, answer: Buffer) => void) => done(null, call.request),
    },
  );
  apps.onClose(() => server.forceShutdown());
  return new Promise((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, port) =>
      error === null ? resolve(port) : reject(error),
    );
  });
}

/** Calls `target` as a program that was started with `grpc_proxy`. */
function call(target: string): Promise<unknown> {
  process.env['grpc_proxy'] = `http://127.0.0.1:${rig.port}`;
  const client = new Client(target, credentials.createInsecure());
  apps.onClose(() => {
    client.close();
    delete process.env['grpc_proxy'];
  });
  return new Promise((resolve) => {
    const options = { deadline: Date.now() + 5_000 };
    client.makeUnaryRequest(PATH, same, same, Buffer.from('hello'), options, (error, answer) =>
      resolve(error ?? answer?.toString()),
    );
  });
}

test('a gRPC call through CONNECT reaches the Service under its Route, and is recorded as a call', async () => {
  const grpc = { service: 'shop.v1.Echo', method: 'Say' };
  await rig.apply(
    service('shop/orders', { ports: [{ port: 80, tls: TlsMode.OFF, protocol: Protocol.GRPC }] }),
    endpoint('shop/orders', await echo()),
    route('shop/calls', { services: ['shop/orders'], rules: [{ name: 'say', matches: [{ grpc }] }] }),
    logged(),
  );
  expect(await call('orders:80')).toBe('hello');
  await until('it is recorded', () => rig.records.length === 1);
  expect(rig.records[0]).toMatchObject({ method: 'POST', path: PATH, route: 'shop/calls#say', grpcStatus: 0 });
});

test('CVE class 14: a name that is no Service is refused: the port is no open proxy', async () => {
  expect(await call('stock:80')).toMatchObject({ code: status.UNAVAILABLE });
  await until('it is counted', () => rig.count('requests', 'outbound', '', '', '404', '', 'NR') > 0);
});
