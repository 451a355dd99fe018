// Identities for the benches, from the mesh's own authority, in the file layouts that the peers read.

import { X509Certificate } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { openAuthority } from '../control-plane/identity/authority.ts';
import { checkCsr } from '../control-plane/identity/csr.ts';
import { createWorkloadKey } from '../sidecar/identity/key.ts';

/** One workload's files, PEM. */
export interface Identity {
  readonly spiffeId: string;
  readonly key: string;
  readonly certificate: string;
  /** Certificate and key in one file, as HAProxy wants them. */
  readonly combined: string;
}

export interface Identities {
  /** File with the mesh's root, PEM. */
  readonly roots: string;
  /** The calling side, `sa/client`. */
  readonly client: Identity;
  /** The receiving side, `sa/echo`. */
  readonly server: Identity;
}

export const TRUST_DOMAIN = 'mesh.local';

/** One workload's identity in memory, PEM. */
export interface Account {
  readonly spiffeId: string;
  readonly keyPem: string;
  /** Leaf first, without the root. */
  readonly chainPem: string;
  readonly roots: string;
}

/** Makes a root in `dataDir`, where a control plane may open it afterwards, and one identity for each service account. */
export async function createAccounts(dataDir: string, names: readonly string[]): Promise<Account[]> {
  const authority = await openAuthority({ dataDir, trustDomain: TRUST_DOMAIN, now: Date.now });
  const roots = authority.trustBundle.map(pem).join('');
  const accounts: Account[] = [];
  for (const name of names) {
    const { privateKeyPem, csr } = await createWorkloadKey();
    const checked = await checkCsr(csr);
    if (!checked.ok) throw new Error(checked.error);
    const issued = await authority.sign(checked.publicKey, 'default', name);
    const chainPem = issued.chain.map(pem).join('');
    accounts.push({ spiffeId: issued.spiffeId, keyPem: privateKeyPem, chainPem, roots });
  }
  return accounts;
}

/** Makes a root and both identities of the wire suite, as files in `folder`. */
export async function createIdentities(folder: string): Promise<Identities> {
  const dataDir = join(folder, 'authority');
  mkdirSync(dataDir, { recursive: true, mode: 0o700 });
  const [client, server] = await createAccounts(dataDir, ['client', 'echo']);
  if (client === undefined || server === undefined) throw new Error('the authority made no identities');
  const roots = join(folder, 'roots.pem');
  writeFileSync(roots, client.roots);
  return { roots, client: write(folder, 'client', client), server: write(folder, 'echo', server) };
}

function write(folder: string, name: string, { spiffeId, keyPem, chainPem }: Account): Identity {
  const key = join(folder, `${name}.key`);
  const certificate = join(folder, `${name}.pem`);
  const combined = join(folder, `${name}-both.pem`);
  writeFileSync(key, keyPem, { mode: 0o600 });
  writeFileSync(certificate, chainPem);
  writeFileSync(combined, chainPem + keyPem, { mode: 0o600 });
  return { spiffeId, key, certificate, combined };
}

function pem(der: Uint8Array): string {
  return new X509Certificate(der).toString();
}
