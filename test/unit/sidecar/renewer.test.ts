// By what a sidecar asks for its next certificate: by the one in use, and by a new token once that has expired.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { encodeJoinToken } from '../../../proto/kit/join-token.ts';
import type { WorkloadKey } from '../../../sidecar/identity/key.ts';
import { renewer } from '../../../sidecar/identity/renewer.ts';
import type { HeldIdentity } from '../../../sidecar/identity/stored.ts';

const WHERE = { host: '127.0.0.1', port: 1 };
const WEB: HeldIdentity = {
  spiffeId: 'spiffe://mesh.local/ns/shop/sa/web',
  trustDomain: 'mesh.local',
  namespace: 'shop',
  serviceAccount: 'web',
  serial: '01',
  privateKeyPem: '',
  chainPem: '',
  rootsPem: [],
  notBeforeMs: 0,
  notAfterMs: 1_000,
};

let folder: string;
let tokenFile: string;
/** `renew`, or `join` with the key that it had. */
let asked: string[];
let failure: Error | null;
let keys: number;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'weft-renewer-'));
  tokenFile = join(folder, 'token');
  writeFileSync(tokenFile, tokenFor('web'));
  asked = [];
  failure = null;
  keys = 0;
});
afterEach(() => rmSync(folder, { recursive: true }));

function tokenFor(serviceAccount: string): string {
  const names = { trustDomain: 'mesh.local', namespace: 'shop', serviceAccount };
  const secrets = { id: 'AAAAAAAAAAAAAAAA', secret: new Uint8Array(32), rootKeyHash: new Uint8Array(32) };
  return encodeJoinToken({ ...secrets, ...names, expiresAtMs: 10_000 });
}

function renewing(nowMs: number, joinTokenFile = tokenFile, identityKey = ''): Promise<HeldIdentity> {
  return again(nowMs, joinTokenFile, identityKey)();
}

/** The same renewer as often as it is called. */
function again(nowMs: number, joinTokenFile = tokenFile, identityKey = ''): () => Promise<HeldIdentity> {
  const answer = (what: string): HeldIdentity => {
    asked.push(what);
    if (failure !== null) throw failure;
    return WEB;
  };
  const calls = {
    renew: async () => answer('renew'),
    join: async (_where: unknown, _token: string, key: WorkloadKey) => answer(`join ${key.privateKeyPem}`),
    newKey: async () => ({ privateKeyPem: String(++keys), csr: new Uint8Array() }),
  };
  const renew = renewer(WHERE, { joinTokenFile, identityKey }, calls, () => nowMs);
  return () => renew(WEB);
}

test('while the certificate is valid it proves who this is, to its last millisecond', async () => {
  await renewing(1_000);
  expect(asked).toEqual(['renew']);
});

test('one that has expired is followed by a join, by one key until that succeeds', async () => {
  const renew = again(1_001);
  failure = new Error('used already');
  await expect(renew()).rejects.toThrow(
    /^the certificate of .*\/sa\/web expired at 1970-01-01T00:00:01.000Z, and joining again failed: used already; weft token .* write a new one to /,
  );
  failure = null;
  await renew();
  await renew();
  expect(asked).toEqual(['join 1', 'join 1', 'join 2']);
});

test('a token for somebody else is not used up', async () => {
  writeFileSync(tokenFile, tokenFor('orders'));
  await expect(renewing(1_001)).rejects.toThrow('the join token is not for spiffe://mesh.local/ns/shop/sa/web');
  expect(asked).toEqual([]);
});

test.each([
  ['a token file that is gone', '/nowhere/token', '', 'no such file or directory'],
  ['no token file', '', '', 'start again with it in --join-token-file'],
  ['identity files', '', '/key.pem', 'replace the files of --identity-key'],
])('with %s the sentence says what to do', async (_what, joinTokenFile, identityKey, says) => {
  await expect(renewing(1_001, joinTokenFile, identityKey)).rejects.toThrow(says);
  expect(asked).toEqual([]);
});
