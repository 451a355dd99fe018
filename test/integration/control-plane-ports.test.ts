// The control plane's other promises on its ports: plaintext gives nothing that needs an identity, its own certificate
// changes under open streams, a sidecar that never answers is cut off, and a clean end is clean.
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect as connectTcp } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect } from 'node:tls';
import { create } from '@bufbuild/protobuf';
import {
  type ClientDuplexStream,
  credentials,
  Client as GrpcClient,
  Metadata,
  makeGenericClientConstructor,
  Server,
  type ServiceError,
  status,
} from '@grpc/grpc-js';
import { afterEach, expect, test } from 'vitest';
import { DISCOVERY_DEFINITION } from '../../control-plane/discovery/server.ts';
import { ACK_TIMEOUT_MS, Sessions } from '../../control-plane/discovery/sessions.ts';
import { DiscoveryStream } from '../../control-plane/discovery/stream.ts';
import { openAuthority } from '../../control-plane/identity/authority.ts';
import { serverCredentials } from '../../control-plane/identity/server-credentials.ts';
import { IDENTITY_DEFINITION } from '../../control-plane/identity/service.ts';
import { Index } from '../../control-plane/index/index.ts';
import { WORKLOAD_DEFINITION } from '../../control-plane/workloads/service.ts';
import { DeltaDiscoveryRequestSchema } from '../../proto/gen/envoy/service/discovery/v3/discovery_pb.js';
import { MeshService } from '../../proto/gen/weft/api/v1/api_pb.js';
import { createWorkloadKey } from '../../sidecar/identity/key.ts';
import { ControlPlaneProcess, eventually, sign, trusted } from '../support/control-plane.ts';

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

test('CVE class 15: in plaintext, on loopback, a token is signed for and nobody registers', async () => {
  const plane = new ControlPlaneProcess({}, ['--plaintext-port', '0']);
  cleanups.push(() => plane.remove());
  await plane.start();
  const { token } = await plane.api().createJoinToken({ serviceAccount: 'a' });
  const { csr } = await createWorkloadKey();
  const insecure = credentials.createInsecure();
  const signed = await sign(plane.port('plaintext'), insecure, csr, token);
  expect(signed.spiffeId).toBe('spiffe://mesh.local/ns/default/sa/a');
  await expect(sign(plane.port('plaintext'), insecure, csr, '')).rejects.toMatchObject({ code: 16 });
  const Client = makeGenericClientConstructor(WORKLOAD_DEFINITION, 'workload');
  const client = new Client(`127.0.0.1:${plane.port('plaintext')}`, insecure);
  cleanups.push(() => client.close());
  const call = (client as unknown as { register(): NodeJS.EventEmitter }).register();
  const [error] = (await once(call, 'error')) as [ServiceError];
  expect(error.code).toBe(12);
});

// Linux answers on the whole of 127.0.0.0/8, so that another address of the machine needs no other interface.
test.skipIf(process.platform !== 'linux')('plaintext stays at 127.0.0.1 whatever --host says', async () => {
  const plane = new ControlPlaneProcess({}, ['--plaintext-port', '0', '--host', '0.0.0.0']);
  cleanups.push(() => plane.remove());
  await plane.start();
  const reach = async (port: number) => {
    const socket = connectTcp(port, '127.0.0.2');
    cleanups.push(() => socket.destroy());
    return await once(socket, 'connect').then(
      () => 'reached',
      (error: NodeJS.ErrnoException) => error.code,
    );
  };
  expect(await reach(plane.port('grpc'))).toBe('reached');
  expect(await reach(plane.port('plaintext'))).toBe('ECONNREFUSED');
});

test('CVE class 15: in plaintext discovery tells whoever holds the admin token, for the identity that they name', async () => {
  const policies = { 'a.yaml': 'kind: Service\nmetadata: { name: a }\nspec: { ports: [{ port: 80 }] }\n' };
  const plane = new ControlPlaneProcess(policies, ['--plaintext-port', '0']);
  cleanups.push(() => plane.remove());
  await plane.start();
  const Client = makeGenericClientConstructor(DISCOVERY_DEFINITION, 'discovery');
  const client = new Client(`127.0.0.1:${plane.port('plaintext')}`, credentials.createInsecure());
  cleanups.push(() => client.close());
  const ask = async (identity: string, token: string) => {
    const metadata = new Metadata();
    metadata.set('authorization', `Bearer ${token}`);
    if (identity !== '') metadata.set('weft-identity', identity);
    type Call = ClientDuplexStream<object, { resources: { name: string }[] }>;
    const call = (client as unknown as { deltaAggregatedResources(metadata: Metadata): Call }).deltaAggregatedResources(
      metadata,
    );
    const answer = Promise.race([once(call, 'data'), once(call, 'error').then(([error]) => Promise.reject(error))]);
    call.write(create(DeltaDiscoveryRequestSchema, { typeUrl: 'type.googleapis.com/weft.mesh.v1.Service' }));
    const [response] = (await answer) as [{ resources: { name: string }[] }];
    call.on('error', () => {}).cancel();
    return response.resources.map(({ name }) => name);
  };
  expect(await ask('spiffe://mesh.local/ns/default/sa/web', plane.adminToken)).toEqual(['default/a']);
  await expect(ask('spiffe://mesh.local/ns/other/sa/web', 'wrong')).rejects.toMatchObject({ code: 16 });
  await expect(ask('', plane.adminToken)).rejects.toMatchObject({
    details: expect.stringContaining('weft-identity'),
  });
  await expect(ask('spiffe://else/ns/default/sa/web', plane.adminToken)).rejects.toMatchObject({ code: 16 });
});

test('CVE class 15: no call of any port is answered to whom nobody knows', async () => {
  const plane = new ControlPlaneProcess({}, ['--plaintext-port', '0']);
  cleanups.push(() => plane.remove());
  await plane.start();
  const { token } = await plane.api().createJoinToken({ serviceAccount: 'a' });
  const channels = { grpc: await trusted(plane.port('grpc'), token), plaintext: credentials.createInsecure() };
  const answers: Record<string, number> = {};
  for (const [port, channel] of Object.entries(channels)) {
    for (const definition of [DISCOVERY_DEFINITION, WORKLOAD_DEFINITION, IDENTITY_DEFINITION]) {
      const options = { 'grpc.ssl_target_name_override': 'control-plane.weft-system' };
      const client = new GrpcClient(`127.0.0.1:${plane.port(port)}`, channel, options);
      cleanups.push(() => client.close());
      // Every method as a stream of empty messages: on the wire a unary call is one of them.
      for (const { path } of Object.values(definition)) {
        const call = client.makeBidiStreamRequest(
          path,
          () => Buffer.alloc(0),
          (bytes) => bytes,
        );
        call.on('data', () => {});
        call.end({});
        const [error] = (await once(call, 'error')) as [ServiceError];
        answers[`${port} ${path.split('.').at(-1)}`] = error.code;
      }
    }
  }
  const { UNAUTHENTICATED, UNIMPLEMENTED } = status;
  expect(answers).toEqual({
    'grpc AggregatedDiscoveryService/StreamAggregatedResources': UNIMPLEMENTED,
    'grpc AggregatedDiscoveryService/DeltaAggregatedResources': UNAUTHENTICATED,
    'grpc WorkloadService/Register': UNAUTHENTICATED,
    'grpc IdentityService/Sign': UNAUTHENTICATED,
    'plaintext AggregatedDiscoveryService/StreamAggregatedResources': UNIMPLEMENTED,
    'plaintext AggregatedDiscoveryService/DeltaAggregatedResources': UNAUTHENTICATED,
    'plaintext WorkloadService/Register': UNIMPLEMENTED,
    'plaintext IdentityService/Sign': UNAUTHENTICATED,
  });
  for (const { name } of MeshService.methods) {
    for (const authorization of ['', 'Bearer ', 'Basic YTpi', `Bearer ${token}`]) {
      const url = `http://127.0.0.1:${plane.port('api')}/${MeshService.typeName}/${name}`;
      const headers = { authorization, 'content-type': 'application/json' };
      const response = await fetch(url, { method: 'POST', headers, body: '{}' });
      expect([name, response.status, await response.json()]).toEqual([
        name,
        401,
        { code: 'unauthenticated', message: expect.stringContaining('admin token') },
      ]);
    }
  }
});

test('CVE class 15: what a browser could be made to open is no page', async () => {
  const plane = new ControlPlaneProcess({});
  cleanups.push(() => plane.remove());
  await plane.start();
  for (const [port, path] of [
    ['metrics', '/metrics'],
    ['metrics', '/<script>alert(1)</script>'],
    ['api', '/<script>alert(1)</script>'],
  ]) {
    const response = await fetch(`http://127.0.0.1:${plane.port(port as string)}${path}`);
    expect(response.headers.get('content-type')).toMatch(/^(?:text\/plain|application\/json)/);
    expect(response.headers.get('x-content-type-options')).toBe('nosniff');
    expect(await response.text()).not.toContain('<script>');
  }
});

test('plaintext is off unless asked for, and health and metrics are not', async () => {
  const plane = new ControlPlaneProcess({});
  cleanups.push(() => plane.remove());
  await plane.start();
  expect(() => plane.port('plaintext')).toThrow('no port plaintext');
  const get = async (path: string): Promise<[number, string]> => {
    const response = await fetch(`http://127.0.0.1:${plane.port('metrics')}${path}`);
    return [response.status, await response.text()];
  };
  expect(await get('/healthz')).toEqual([200, 'ok\n']);
  expect(await get('/readyz')).toEqual([200, 'ok\n']);
  expect(await get('/metrics')).toEqual([200, expect.stringContaining('weft_')]);
  expect(await get('/')).toEqual([404, '/metrics, /healthz and /readyz are here\n']);
});

test('at its end streams are told to connect again, and the exit code is 0', async () => {
  const plane = new ControlPlaneProcess({});
  cleanups.push(() => plane.remove());
  await plane.start();
  const workload = await plane.join('a');
  cleanups.push(() => workload.close());
  const discovery = workload.discover(['type.googleapis.com/weft.mesh.v1.Service']);
  await eventually('it is answered', () => discovery.messages.length === 1);
  expect(await plane.end()).toBe(0);
  expect(discovery.error).toMatchObject({ code: 14, details: expect.stringContaining('connect again') });
});

test('the own certificate is renewed for new connections while open streams go on', async () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'weft-renew-'));
  cleanups.push(() => rmSync(dataDir, { recursive: true, force: true }));
  const now = () => Date.now();
  // Renewed at half of it.
  const authority = await openAuthority({ dataDir, trustDomain: 'mesh.test', now, certificateTtlMs: 2000 });
  let renewals = 0;
  const own = await serverCredentials(authority, { dns: ['localhost'], addresses: ['127.0.0.1'] }, now, () => {
    renewals++;
  });
  cleanups.push(() => own.close());
  const server = new Server();
  cleanups.push(() => server.forceShutdown());
  server.addService(WORKLOAD_DEFINITION, {
    register: (call: { on(event: 'data', take: (m: unknown) => void): void; write(m: unknown): void }) =>
      call.on('data', () => call.write({ $typeName: 'weft.mesh.v1.RegisterResponse', endpoints: ['x'] })),
  });
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync('127.0.0.1:0', own.credentials, (error, bound) => (error ? reject(error) : resolve(bound))),
  );
  const serial = async (): Promise<string> => {
    const socket = connect({ port, host: '127.0.0.1', rejectUnauthorized: false, ALPNProtocols: ['h2'] });
    await once(socket, 'secureConnect');
    const { serialNumber } = socket.getPeerX509Certificate() ?? { serialNumber: '' };
    socket.destroy();
    return serialNumber;
  };
  const Client = makeGenericClientConstructor(WORKLOAD_DEFINITION, 'workload');
  const channel = credentials.createSsl(null, null, null, { rejectUnauthorized: false });
  const client = new Client(`localhost:${port}`, channel, { 'grpc.enable_http_proxy': 0 });
  cleanups.push(() => client.close());
  const call = (
    client as unknown as { register(): NodeJS.EventEmitter & { write(m: unknown): void; end(): void } }
  ).register();
  // Cut when the server goes, after the test.
  call.on('error', () => {});
  let answers = 0;
  call.on('data', () => answers++);
  const ask = async (): Promise<void> => {
    const before = answers;
    call.write({
      $typeName: 'weft.mesh.v1.RegisterRequest',
      workloadId: 'a',
      address: '',
      inboundPort: 0,
      apps: [],
      labels: {},
      draining: false,
    });
    await eventually('the stream answers', () => answers > before);
  };
  await ask();
  const first = await serial();
  await eventually('the certificate is renewed', () => renewals > 0);
  expect(await serial()).not.toBe(first);
  await ask();
  call.end();
});

test('a sidecar that leaves a response unanswered is ended after 30 s, and one that answers is not', () => {
  let nowMs = 0;
  const index = new Index(() => ({ resources: [], services: new Set() }));
  const quiet = { onAck() {}, onReject() {} };
  const open = () =>
    new DiscoveryStream(
      index,
      'id',
      (response) => nonces.push(response.nonce),
      quiet,
      () => nowMs,
    );
  const nonces: string[] = [];
  const events = { onOpen() {}, onSend() {}, onAck() {}, onReject() {}, onClose() {} };
  const sessions = new Sessions(events, () => nowMs);
  cleanups.push(() => sessions.endAll(''));
  const ended: string[] = [];
  const [silent, prompt] = [open(), open()];
  sessions.onOpen(silent, 'a', '', () => ended.push('silent'));
  sessions.onOpen(prompt, 'b', '', () => ended.push('prompt'));
  const typeUrl = 'type.googleapis.com/weft.mesh.v1.Service';
  for (const stream of [silent, prompt]) stream.request(create(DeltaDiscoveryRequestSchema, { typeUrl }));
  expect(nonces).toEqual(['1', '1']);
  prompt.request(create(DeltaDiscoveryRequestSchema, { typeUrl, responseNonce: '1' }));
  nowMs = ACK_TIMEOUT_MS;
  sessions.sweep();
  expect(ended).toEqual([]);
  nowMs += 1;
  sessions.sweep();
  expect(ended).toEqual(['silent']);
});

test('a stream is ended at its age, which varies from one to the next, and a younger one goes on', () => {
  let nowMs = 0;
  const chances = [0, 0.5, 1];
  const index = new Index(() => ({ resources: [], services: new Set() }));
  const quiet = { onAck() {}, onReject() {} };
  const events = { onOpen() {}, onSend() {}, onAck() {}, onReject() {}, onClose() {} };
  const sessions = new Sessions(
    events,
    () => nowMs,
    () => chances.shift() ?? 0,
  );
  cleanups.push(() => sessions.endAll(''));
  const ended: string[] = [];
  for (const name of ['early', 'middle', 'late']) {
    const stream = new DiscoveryStream(index, 'id', () => {}, quiet);
    sessions.onOpen(stream, name, '', (reason) => {
      ended.push(`${name}: ${reason}`);
      sessions.onClose(stream);
    });
  }
  const sweepAt = (minutes: number): number => {
    nowMs = minutes * 60_000;
    sessions.sweep();
    return sessions.list().length;
  };
  expect([26.9, 27, 29.9, 30, 32.9, 33.1].map(sweepAt)).toEqual([3, 2, 2, 1, 1, 0]);
  expect(ended[0]).toBe('early: this stream has lived for 27 min; connect again');
});
