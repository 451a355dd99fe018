// The sidecar's half of identity: a key with a request that verifies, and a first contact that trusts only the pinned root.
import 'reflect-metadata';
import { createHash, createPrivateKey, generateKeyPairSync, webcrypto, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:tls';
import { BasicConstraintsExtension, Pkcs10CertificateRequest, X509CertificateGenerator } from '@peculiar/x509';
import { afterEach, describe, expect, test } from 'vitest';
import { fetchPinnedRoot, pinnedRoot } from '../../../sidecar/identity/first-contact.ts';
import { createWorkloadKey } from '../../../sidecar/identity/key.ts';

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
const DAY_MS = 86_400_000;
const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0)) cleanup();
});

interface Chain {
  rootPem: string;
  leafPem: string;
  leafKeyPem: string;
  pin: Buffer;
}

async function chain(options: { notAfter?: Date; rootIsCa?: boolean } = {}): Promise<Chain> {
  const rootKeys = await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
  const leafKeys = await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
  const dates = {
    notBefore: new Date(Date.now() - DAY_MS),
    notAfter: options.notAfter ?? new Date(Date.now() + DAY_MS),
  };
  const root = await X509CertificateGenerator.createSelfSigned({
    name: 'CN=root',
    keys: rootKeys,
    signingAlgorithm: ALGORITHM,
    ...dates,
    notAfter: new Date(Date.now() + DAY_MS),
    extensions: [new BasicConstraintsExtension(options.rootIsCa ?? true, undefined, true)],
  });
  const leaf = await X509CertificateGenerator.create({
    subject: 'CN=control-plane',
    issuer: root.subject,
    publicKey: leafKeys.publicKey,
    signingKey: rootKeys.privateKey,
    signingAlgorithm: ALGORITHM,
    ...dates,
  });
  const key = createPrivateKey({
    key: Buffer.from(await webcrypto.subtle.exportKey('pkcs8', leafKeys.privateKey)),
    format: 'der',
    type: 'pkcs8',
  });
  const spki = new X509Certificate(root.toString('pem')).publicKey.export({ type: 'spki', format: 'der' });
  return {
    rootPem: root.toString('pem'),
    leafPem: leaf.toString('pem'),
    leafKeyPem: key.export({ type: 'pkcs8', format: 'pem' }) as string,
    pin: createHash('sha256').update(spki).digest(),
  };
}

async function serve(made: Chain): Promise<number> {
  const server = createServer({
    key: made.leafKeyPem,
    cert: `${made.leafPem}\n${made.rootPem}`,
    ALPNProtocols: ['h2'],
  });
  server.on('connection', (socket) => cleanups.push(() => socket.destroy()));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  cleanups.push(() => server.close());
  return (server.address() as AddressInfo).port;
}

test('a new key comes with a request that it signed and that names nobody', async () => {
  const made = await createWorkloadKey();
  const request = new Pkcs10CertificateRequest(made.csr);
  expect(await request.verify()).toBe(true);
  expect(request.subject).toBe('');
  expect(request.extensions).toEqual([]);
  expect(createPrivateKey(made.privateKeyPem).asymmetricKeyType).toBe('ec');
});

describe('the first contact', () => {
  test('gives the root whose key the token names', async () => {
    const made = await chain();
    const root = await fetchPinnedRoot('127.0.0.1', await serve(made), made.pin);
    expect(root.fingerprint256).toBe(new X509Certificate(made.rootPem).fingerprint256);
  });

  test('refuses a server of another mesh', async () => {
    const other = await chain();
    const port = await serve(await chain());
    await expect(fetchPinnedRoot('127.0.0.1', port, other.pin)).rejects.toThrow(
      /not the one that the join token names/,
    );
  });

  test('says that nobody listens', async () => {
    const port = await serve(await chain());
    for (const cleanup of cleanups.splice(0)) cleanup();
    await expect(fetchPinnedRoot('127.0.0.1', port, Buffer.alloc(32))).rejects.toThrow(/ECONNREFUSED/);
  });

  test('refuses a certificate that ended', async () => {
    const made = await chain({ notAfter: new Date(Date.now() - 1000) });
    await expect(fetchPinnedRoot('127.0.0.1', await serve(made), made.pin)).rejects.toThrow(/is the clock right/);
  });

  test('refuses a chain through a certificate that is no authority', async () => {
    const made = await chain({ rootIsCa: false });
    await expect(fetchPinnedRoot('127.0.0.1', await serve(made), made.pin)).rejects.toThrow(/no authority/);
  });

  test('refuses a pinned certificate shown without the chain to it', () => {
    expect(pinnedRoot(undefined, Buffer.alloc(32), Date.now())).toBe('showed no certificate');
  });

  test('does not take a leaf that merely claims the pinned root as issuer', async () => {
    const made = await chain();
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const forged = {
      ...made,
      leafPem: (await chain()).leafPem,
      leafKeyPem: privateKey.export({ type: 'pkcs8', format: 'pem' }) as string,
    };
    // A server cannot even start with a key that is not its certificate's.
    await expect(serve(forged)).rejects.toThrow();
    const leaf = new X509Certificate((await chain()).leafPem);
    expect(pinnedRoot(leaf, made.pin, Date.now())).toMatch(/not signed|not the one/);
  });
});
