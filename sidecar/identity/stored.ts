// The workload's identity as files: read back and checked whole before anybody relies on it, so that a restart needs
// no control plane, and a file that is damaged, foreign or too old says so instead of failing in a handshake.

import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { readPrivateFile, writePrivateFile } from '../../proto/kit/private-file.ts';
import { uriName } from '../../proto/kit/san.ts';
import { parseSpiffeId } from '../../proto/kit/spiffe.ts';
import type { WorkerIdentity } from '../base/messages.ts';

/** An identity with the names and dates of its leaf. The key is in `privateKeyPem` and goes nowhere but to workers. */
export interface HeldIdentity extends WorkerIdentity {
  readonly trustDomain: string;
  readonly namespace: string;
  readonly serviceAccount: string;
  /** Hexadecimal. */
  readonly serial: string;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
}

/** The identity, or why these files are none: a sentence that begins with what is wrong. */
export type IdentityResult =
  | { readonly ok: true; readonly identity: HeldIdentity }
  | { readonly ok: false; readonly error: string };

const CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;
const PRIVATE_KEY = /-----BEGIN (?:EC )?PRIVATE KEY-----[^-]+-----END (?:EC )?PRIVATE KEY-----/;

/** Checks that key, chain and roots belong together, name one SPIFFE id and are valid at `nowMs`. Never throws. */
export function checkIdentity(keyPem: string, chainPem: string, bundlePem: string, nowMs: number): IdentityResult {
  try {
    const key = createPrivateKey(keyPem);
    const chain = (chainPem.match(CERTIFICATE) ?? []).map((pem) => new X509Certificate(pem));
    const rootsPem = bundlePem.match(CERTIFICATE) ?? [];
    const roots = rootsPem.map((pem) => new X509Certificate(pem));
    const [leaf] = chain;
    if (leaf === undefined) return refuse('the certificate file holds no certificate');
    if (roots.length === 0) return refuse('the trust bundle holds no certificate');
    if (!leaf.checkPrivateKey(key)) return refuse('key and certificate do not belong together');
    const name = uriName(leaf.raw);
    if (name === null) return refuse('the certificate has no SPIFFE identity: it needs exactly one URI name');
    const spiffe = parseSpiffeId(name);
    if (!spiffe.ok) return refuse(spiffe.error);
    const notBeforeMs = Date.parse(leaf.validFrom);
    const notAfterMs = Date.parse(leaf.validTo);
    if (nowMs > notAfterMs) return refuse(`the certificate of ${spiffe.id} expired at ${leaf.validTo}`);
    if (nowMs < notBeforeMs) {
      return refuse(`the certificate of ${spiffe.id} is valid from ${leaf.validFrom}; is the clock right?`);
    }
    if (!leadsToRoot(chain, roots)) return refuse(`the certificate of ${spiffe.id} is not signed by any root given`);
    const identity: HeldIdentity = {
      ...spiffe.identity,
      spiffeId: spiffe.id,
      privateKeyPem: keyPem,
      chainPem: `${chain.map((certificate) => certificate.toString().trim()).join('\n')}\n`,
      rootsPem: roots.map((root) => root.toString()),
      serial: leaf.serialNumber,
      notBeforeMs,
      notAfterMs,
    };
    return { ok: true, identity };
  } catch (error) {
    return refuse(`the files do not parse (${(error as Error).message})`);
  }
}

/** The identity of a state directory; null when it holds none. Throws when the files may have been read by others. */
export function readStoredIdentity(stateDir: string, nowMs: number): IdentityResult | null {
  const own = readPrivateFile(join(stateDir, 'identity.pem'));
  const bundle = readPrivateFile(join(stateDir, 'bundle.pem'));
  if (own === null && bundle === null) return null;
  if (own === null || bundle === null) return refuse('identity.pem or bundle.pem is missing');
  const key = PRIVATE_KEY.exec(own);
  if (key === null) return refuse('identity.pem holds no private key');
  return checkIdentity(`${key[0]}\n`, own, bundle, nowMs);
}

/** Keeps it: key and chain in one file, so that a crash can never leave two that disagree. Throws what the disk says. */
export function writeStoredIdentity(stateDir: string, identity: WorkerIdentity): void {
  writePrivateFile(join(stateDir, 'bundle.pem'), identity.rootsPem.join(''));
  writePrivateFile(join(stateDir, 'identity.pem'), `${identity.privateKeyPem}${identity.chainPem}`);
}

/** The identity of `--identity-key`, `--identity-cert` and `--trust-bundle`. */
export function readIdentityFiles(key: string, certificate: string, bundle: string, nowMs: number): IdentityResult {
  try {
    const keyPem = readPrivateFile(key);
    if (keyPem === null) return refuse(`${key} does not exist`);
    return checkIdentity(keyPem, readFileSync(certificate, 'utf8'), readFileSync(bundle, 'utf8'), nowMs);
  } catch (error) {
    return refuse((error as Error).message);
  }
}

/** PEM of a DER certificate. */
export function pemOf(der: Uint8Array): string {
  return new X509Certificate(der).toString();
}

/** Every certificate signed by the next, the last one by a root. */
function leadsToRoot(chain: readonly X509Certificate[], roots: readonly X509Certificate[]): boolean {
  for (let i = 0; i + 1 < chain.length; i++) {
    const issuer = chain[i + 1] as X509Certificate;
    if (!issuer.ca || !chain[i]?.verify(issuer.publicKey)) return false;
  }
  const last = chain.at(-1) as X509Certificate;
  return roots.some((root) => root.ca && last.checkIssued(root) && last.verify(root.publicKey));
}

function refuse(error: string): { readonly ok: false; readonly error: string } {
  return { ok: false, error };
}
