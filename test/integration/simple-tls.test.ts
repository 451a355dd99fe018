// TLS mode SIMPLE with ordinary peers, which know roots and DNS names and nothing of SPIFFE: clients of a Service verify
// its sidecar, and a sidecar verifies a server whose root only the policy knows.
import { writeFileSync } from 'node:fs';
import { createServer as createHttps } from 'node:https';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { connect as connectTls } from 'node:tls';
import { toBinary } from '@bufbuild/protobuf';
import { afterEach, expect, test } from 'vitest';
import { typeUrlOf } from '../../control-plane/index/encoded.ts';
import { needs } from '../../control-plane/model/needs.ts';
import { callHttp } from '../support/apps.ts';
import { ControlPlaneProcess, eventually } from '../support/control-plane.ts';
import { read } from '../support/policies.ts';
import { freePort } from '../support/ports.ts';
import { useApps, useAuthority, useSidecars, useWorkerRig } from '../support/use.ts';

const rig = useWorkerRig();
const authority = useAuthority();
const apps = useApps();
const processes = useSidecars();
const planes: ControlPlaneProcess[] = [];
afterEach(async () => {
  for (const plane of planes.splice(0)) await plane.remove();
});

const simple = (name: string): string => `kind: Service
metadata: { name: ${name} }
spec: { ports: [{ port: 8080, tls: SIMPLE }, { port: 9090 }], serviceAccounts: [orders] }
---
kind: Authorization
metadata: { name: anyone }
spec: { action: ALLOW, rules: [{ name: all }] }
`;

/** What a client that verifies, with the mesh's root, is answered under this name; or the code of the error. */
async function ask(port: number, servername: string, ca: readonly string[]): Promise<string> {
  const socket = connectTls({ host: '127.0.0.1', port, servername, ca: [...ca], ALPNProtocols: ['http/1.1'] });
  socket.end(`GET / HTTP/1.1\r\nhost: ${servername}\r\nconnection: close\r\n\r\n`);
  try {
    return (await text(socket)).replace(/\r\n[\s\S]*\r\n\r\n/, ' ');
  } catch (error) {
    return String((error as NodeJS.ErrnoException).code);
  }
}

test('ordinary clients verify a sidecar by the names of its Services, those of later ones, too', async () => {
  const plane = new ControlPlaneProcess({ 'orders.yaml': simple('orders') });
  planes.push(plane);
  await plane.start();
  const { token } = await plane.api().createJoinToken({ serviceAccount: 'orders' });
  const tokenFile = join(processes.folder, 'token');
  writeFileSync(tokenFile, token, { mode: 0o600 });
  const named = (name: string) => apps.http((_request, response) => void response.end(name));
  const sidecar = await processes.start([
    ...['--control-plane', `127.0.0.1:${plane.port('grpc')}`, '--join-token-file', tokenFile],
    ...['--state-dir', join(processes.folder, 'state')],
    ...['--app', `orders:8080=${await named('orders')}`, '--app', `catalog:8080=${await named('catalog')}`],
  ]);
  const roots = (await plane.join('client')).signed.trustBundle.map(
    (der) => `-----BEGIN CERTIFICATE-----\n${Buffer.from(der).toString('base64')}\n-----END CERTIFICATE-----\n`,
  );
  const inbound = sidecar.ports.inbound as number;
  for (const name of ['8080.orders.default', 'orders.default', 'orders.default.mesh'])
    expect([name, await ask(inbound, name, roots)]).toEqual([name, 'HTTP/1.1 200 OK orders']);
  // The port of sidecars has no such short names, and wants a certificate of its caller.
  expect(await ask(inbound, '9090.orders.default', roots)).not.toContain('200');
  // A name that is not served is not in the certificate either.
  expect(await ask(inbound, 'catalog.default', roots)).not.toContain('200');

  const localPort = await freePort();
  const [later = ''] = simple('catalog').split('---');
  plane.write('catalog.yaml', later.replace('[orders] }', `[orders], localPort: ${localPort} }`));
  await eventually(
    'the new Service is verified by its name',
    async () => (await ask(inbound, 'catalog.default', roots)) === 'HTTP/1.1 200 OK catalog',
  );
  expect(await ask(inbound, '8080.orders.default', roots)).toBe('HTTP/1.1 200 OK orders');
  // And what else follows from a Service that comes later: the port on localhost that it asks for.
  await eventually('the local port is open', async () => {
    const answer = await callHttp(localPort, 'catalog').catch(() => null);
    return answer?.body === 'catalog';
  });
});

test.each([
  ['the ca_file of the policy', '  caFile: roots.pem\n', 200],
  ['the public roots, which do not know it', '', 503],
])('a server with a private root is verified by %s', async (_what, caFile, status) => {
  const server = createHttps(
    { key: authority.outside.keyPem, cert: authority.outside.certificatePem },
    (_request, response) => void response.end('outside'),
  );
  const port = await apps.listen(server);
  const where = `  static: { endpoints: [{ address: 127.0.0.1, port: ${port} }] }\n`;
  const { resources, problems } = await read({
    'p.yaml': `kind: Service\nmetadata: { name: s, namespace: shop }\nspec:\n  ports: [{ port: 443, tls: SIMPLE }]\n${where}${caFile}`,
    'roots.pem': authority.rootsPem.join(''),
  });
  expect(problems).toEqual([]);
  const identity = { trustDomain: 'mesh.local', namespace: 'shop', serviceAccount: 'web' };
  const wire = needs(resources, identity).map(({ schema, name, message }) => {
    return { typeUrl: typeUrlOf(schema), name, version: '1', bytes: toBinary(schema, message) };
  });
  expect(await rig.apply(...wire)).toEqual([]);
  expect((await callHttp(rig.port, 's')).status).toBe(status);
});
