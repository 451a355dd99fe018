// The workload's key pair, made here and never sent anywhere, and the request to have it certified. The request
// names nothing: the authority takes the identity from the credential, so a name in it could only mislead.

// @peculiar/x509 resolves its parts through reflection and asks for the polyfill to be loaded first.
import 'reflect-metadata';
import { webcrypto } from 'node:crypto';
import { Pkcs10CertificateRequestGenerator } from '@peculiar/x509';

/** ECDSA P-256: what every TLS 1.3 peer verifies, and a tenth of RSA-2048's cost to sign with. */
const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;

export interface WorkloadKey {
  /** PKCS #8, PEM. Belongs into the state directory with mode 0600 and nowhere else. */
  privateKeyPem: string;
  /** PKCS #10, DER. */
  csr: Uint8Array;
}

export async function createWorkloadKey(): Promise<WorkloadKey> {
  const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
  const request = await Pkcs10CertificateRequestGenerator.create(
    { keys, signingAlgorithm: ALGORITHM },
    webcrypto as Crypto,
  );
  const der = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey)).toString('base64');
  const lines = der.match(/.{1,64}/g) ?? [];
  const privateKeyPem = `-----BEGIN PRIVATE KEY-----\n${lines.join('\n')}\n-----END PRIVATE KEY-----\n`;
  return { privateKeyPem, csr: new Uint8Array(request.rawData) };
}
