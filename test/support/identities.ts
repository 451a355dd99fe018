// Workload identities of the real authority, for tests that speak mutual TLS.

// @peculiar/x509 asks for the polyfill to be loaded first.
import 'reflect-metadata';
import { webcrypto, X509Certificate } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BasicConstraintsExtension, SubjectAlternativeNameExtension, X509CertificateGenerator } from '@peculiar/x509';
import { type Authority, openAuthority } from '../../control-plane/identity/authority.ts';
import { checkCsr } from '../../control-plane/identity/csr.ts';
import type { WorkerIdentity } from '../../sidecar/base/messages.ts';
import { createWorkloadKey } from '../../sidecar/identity/key.ts';

/** One mesh's authority, in a folder that `close` removes. */
export interface TestAuthority {
  readonly rootsPem: readonly string[];
  readonly dataDir: string;
  /** For a server that is known by the name `localhost`. */
  readonly outside: { readonly keyPem: string; readonly certificatePem: string };
  issue(serviceAccount: string, namespace?: string): Promise<WorkerIdentity>;
  close(): void;
}

export const pemOf = (der: Uint8Array): string => new X509Certificate(der).toString();

export async function testAuthority(trustDomain = 'mesh.local'): Promise<TestAuthority> {
  const dataDir = mkdtempSync(join(tmpdir(), 'weft-authority-'));
  const authority: Authority = await openAuthority({ dataDir, trustDomain, now: Date.now });
  const rootsPem = authority.trustBundle.map(pemOf);
  const server = await authority.issueServer(['localhost'], ['127.0.0.1']);
  return {
    rootsPem,
    dataDir,
    outside: { keyPem: server.keyPem, certificatePem: server.chainPem },
    async issue(serviceAccount, namespace = 'shop') {
      const { privateKeyPem, csr } = await createWorkloadKey();
      const checked = await checkCsr(csr);
      if (!checked.ok) throw new Error(checked.error);
      const issued = await authority.sign(checked.publicKey, namespace, serviceAccount);
      return { spiffeId: issued.spiffeId, privateKeyPem, chainPem: issued.chain.map(pemOf).join('\n'), rootsPem };
    },
    close: () => rmSync(dataDir, { recursive: true }),
  };
}

/** What no good authority would sign: a root of its own, and a leaf with any names at all. */
export async function oddIdentity(
  uris: readonly string[],
  validMs = 60_000,
  more: { readonly dnsNames?: readonly string[]; readonly addresses?: readonly string[]; readonly isCa?: boolean } = {},
): Promise<{ identity: WorkerIdentity; rootPem: string }> {
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
  const rootKeys = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
  const leafKeys = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
  const notBefore = new Date(Date.now() - 120_000);
  const root = await X509CertificateGenerator.createSelfSigned({
    name: 'CN=odd',
    keys: rootKeys,
    signingAlgorithm: algorithm,
    notBefore,
    notAfter: new Date(Date.now() + 600_000),
    extensions: [new BasicConstraintsExtension(true, more.isCa === true ? 1 : 0, true)],
  });
  const names = [
    ...uris.map((value) => ({ type: 'url' as const, value })),
    ...(more.dnsNames ?? []).map((value) => ({ type: 'dns' as const, value })),
    ...(more.addresses ?? []).map((value) => ({ type: 'ip' as const, value })),
  ];
  const leaf = await X509CertificateGenerator.create({
    issuer: root.subjectName,
    publicKey: leafKeys.publicKey,
    signingKey: rootKeys.privateKey,
    signingAlgorithm: algorithm,
    notBefore,
    notAfter: new Date(Date.now() + validMs),
    extensions: [
      new SubjectAlternativeNameExtension(names),
      ...(more.isCa === true ? [new BasicConstraintsExtension(true, undefined, true)] : []),
    ],
  });
  const key = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', leafKeys.privateKey)).toString('base64');
  const rootPem = root.toString('pem');
  return {
    identity: {
      spiffeId: uris[0] ?? '',
      privateKeyPem: `-----BEGIN PRIVATE KEY-----\n${(key.match(/.{1,64}/g) ?? []).join('\n')}\n-----END PRIVATE KEY-----\n`,
      chainPem: leaf.toString('pem'),
      rootsPem: [rootPem],
    },
    rootPem,
  };
}
