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

/** Makes a root and both identities in `folder`. */
export async function createIdentities(folder: string): Promise<Identities> {
  const dataDir = join(folder, 'authority');
  mkdirSync(dataDir, { recursive: true, mode: 0o700 });
  const authority = await openAuthority({ dataDir, trustDomain: TRUST_DOMAIN, now: Date.now });
  const roots = join(folder, 'roots.pem');
  writeFileSync(roots, authority.trustBundle.map(pem).join(''));
  async function issue(account: string): Promise<Identity> {
    const { privateKeyPem, csr } = await createWorkloadKey();
    const checked = await checkCsr(csr);
    if (!checked.ok) throw new Error(checked.error);
    const issued = await authority.sign(checked.publicKey, 'default', account);
    const chain = issued.chain.map(pem).join('');
    const paths = { key: join(folder, `${account}.key`), certificate: join(folder, `${account}.pem`) };
    const combined = join(folder, `${account}-both.pem`);
    writeFileSync(paths.key, privateKeyPem, { mode: 0o600 });
    writeFileSync(paths.certificate, chain);
    writeFileSync(combined, chain + privateKeyPem, { mode: 0o600 });
    return { spiffeId: issued.spiffeId, ...paths, combined };
  }
  return { roots, client: await issue('client'), server: await issue('echo') };
}

function pem(der: Uint8Array): string {
  return new X509Certificate(der).toString();
}
