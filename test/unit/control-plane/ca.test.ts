// The authority judged from outside: its certificates are read by node:crypto and used in a real TLS handshake.
import 'reflect-metadata';
import { createHash, generateKeyPairSync, KeyObject, webcrypto, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { checkServerIdentity, connect, createServer, type TLSSocket } from 'node:tls';
import {
  BasicConstraintsExtension,
  X509Certificate as Certificate,
  KeyUsageFlags,
  KeyUsagesExtension,
  Pkcs10CertificateRequestGenerator,
  SubjectAlternativeNameExtension,
} from '@peculiar/x509';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  type Authority,
  CERTIFICATE_TTL_MS,
  CLOCK_SKEW_MS,
  isReserved,
  openAuthority,
  ROOT_TTL_MS,
} from '../../../control-plane/identity/authority.ts';
import { CSR_BYTES_MAX, checkCsr } from '../../../control-plane/identity/csr.ts';
import { issueCertificate } from '../../../control-plane/identity/issuer.ts';
import { RevocationStore } from '../../../control-plane/identity/revocations.ts';
import { SIGN_BURST, SIGN_RATE_PER_SECOND, SignLimit } from '../../../control-plane/identity/sign-limit.ts';
import { TokenStore } from '../../../control-plane/identity/tokens.ts';
import { certificateNames } from '../../../proto/kit/host.ts';
import { encodeJoinToken } from '../../../proto/kit/join-token.ts';
import { dnsNames, uriName } from '../../../proto/kit/san.ts';

const P256 = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
const RSA = { name: 'RSASSA-PKCS1-v1_5', publicExponent: new Uint8Array([1, 0, 1]) };
let dataDir = '';
let nowMs = 0;
const now = () => nowMs;

beforeEach(() => {
  dataDir = mkdtempSync(join(tmpdir(), 'weft-ca-'));
  nowMs = Math.floor(Date.now() / 1000) * 1000;
});
afterEach(() => rmSync(dataDir, { recursive: true, force: true }));

function open(change: { trustDomain?: string; certificateTtlMs?: number } = {}): Promise<Authority> {
  return openAuthority({ dataDir, trustDomain: 'mesh.test', now, ...change });
}

type Algorithm = webcrypto.EcKeyGenParams | webcrypto.RsaHashedKeyGenParams;
async function request(algorithm: Algorithm & { hash?: string } = P256): Promise<{ csr: Uint8Array; key: KeyObject }> {
  const keys = (await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])) as webcrypto.CryptoKeyPair;
  const csr = await Pkcs10CertificateRequestGenerator.create({
    name: 'CN=admin.example',
    keys,
    signingAlgorithm: algorithm,
    extensions: [new SubjectAlternativeNameExtension([{ type: 'url', value: 'spiffe://mesh.test/ns/x/sa/admin' }])],
  });
  return { csr: new Uint8Array(csr.rawData), key: KeyObject.from(keys.privateKey) };
}

async function sign(authority: Authority, csr: Uint8Array, account = 'orders') {
  const checked = await checkCsr(csr);
  if (!checked.ok) throw new Error(checked.error);
  const issued = await authority.sign(checked.publicKey, 'shop', account);
  return { issued, leaf: new X509Certificate(issued.chain[0] ?? new Uint8Array()) };
}

describe('root', () => {
  test('is made once, private, self-signed, for ten years', async () => {
    const authority = await open();
    const root = new X509Certificate(authority.trustBundle[0] ?? '');
    expect(root.verify(root.publicKey)).toBe(true);
    expect(root.ca).toBe(true);
    expect(root.subjectAltName).toBe('URI:spiffe://mesh.test');
    expect(root.publicKey.asymmetricKeyDetails?.namedCurve).toBe('prime256v1');
    expect(root.validToDate.getTime()).toBe(nowMs + ROOT_TTL_MS);
    const der = root.publicKey.export({ type: 'spki', format: 'der' });
    expect(Buffer.from(authority.rootKeyHash)).toEqual(createHash('sha256').update(der).digest());
    expect(readdirSync(dataDir)).toEqual(['root.pem']);
    expect(statSync(join(dataDir, 'root.pem')).mode & 0o777).toBe(0o600);
    const again = await open();
    expect(again.trustBundle).toEqual(authority.trustBundle);
    const { leaf } = await sign(again, (await request()).csr);
    expect(leaf.verify(root.publicKey)).toBe(true);
  });

  test.each([0o640, 0o604, 0o660, 0o601])('is refused with mode %o', async (mode) => {
    await open();
    chmodSync(join(dataDir, 'root.pem'), mode);
    await expect(open()).rejects.toThrow('chmod 600');
  });

  test('is refused when damaged, and not replaced', async () => {
    await open();
    const path = join(dataDir, 'root.pem');
    writeFileSync(path, 'garbage');
    await expect(open()).rejects.toThrow('restore it from a backup');
    expect(readFileSync(path, 'utf8')).toBe('garbage');
  });

  test('is refused when key and certificate do not belong together', async () => {
    await open();
    const path = join(dataDir, 'root.pem');
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const certificate = readFileSync(path, 'utf8').split('-----END PRIVATE KEY-----')[1];
    writeFileSync(path, `${privateKey.export({ type: 'pkcs8', format: 'pem' })}${certificate}`);
    await expect(open()).rejects.toThrow('do not belong together');
  });

  test('is refused for another trust domain, and when expired', async () => {
    await open();
    await expect(open({ trustDomain: 'other.test' })).rejects.toThrow('not of spiffe://other.test');
    await expect(open({ trustDomain: 'Not valid' })).rejects.toThrow('trust domain');
    nowMs += ROOT_TTL_MS;
    await expect(open()).rejects.toThrow('expired');
  });
});

describe('workload certificate', () => {
  test('names the attested identity only, whatever the request asks for', async () => {
    const authority = await open();
    const { leaf, issued } = await sign(authority, (await request()).csr);
    expect(leaf.subjectAltName).toBe('URI:spiffe://mesh.test/ns/shop/sa/orders');
    expect(issued.spiffeId).toBe('spiffe://mesh.test/ns/shop/sa/orders');
    expect(leaf.subject ?? '').toBe('');
    expect(leaf.toString()).not.toContain('admin');
    // Read apart from leaf.ca, which is false already when either one of the two forbids signing.
    const fields = new Certificate(leaf.raw);
    expect(fields.getExtension(BasicConstraintsExtension)).toMatchObject({ ca: false, critical: true });
    expect(fields.getExtension(KeyUsagesExtension)?.usages).toBe(KeyUsageFlags.digitalSignature);
    expect(fields.getExtension(SubjectAlternativeNameExtension)?.critical).toBe(true);
    expect([...(leaf.keyUsage ?? [])].sort()).toEqual(['1.3.6.1.5.5.7.3.1', '1.3.6.1.5.5.7.3.2']);
    const root = new X509Certificate(authority.trustBundle[0] ?? '');
    expect(leaf.checkIssued(root) && leaf.verify(root.publicKey)).toBe(true);
  });

  test('names Services beside the one identity, which stays what it is to the mesh', async () => {
    const authority = await open();
    const checked = await checkCsr((await request()).csr);
    if (!checked.ok) throw new Error(checked.error);
    const names = certificateNames(['shop/orders', 'shop/a']);
    const issued = await authority.sign(checked.publicKey, 'shop', 'orders', names);
    const leaf = new X509Certificate(issued.chain[0] ?? '');
    expect(uriName(leaf.raw)).toBe('spiffe://mesh.test/ns/shop/sa/orders');
    expect(dnsNames(leaf.raw)).toEqual(names);
    for (const host of ['orders.shop', 'orders.shop.mesh', '8080.orders.shop', 'a.shop'])
      expect([host, checkServerIdentity(host, leaf.toLegacyObject() as never)]).toEqual([host, undefined]);
    for (const host of ['orders', 'stock.shop', 'shop', 'x.8080.orders.shop'])
      expect(checkServerIdentity(host, leaf.toLegacyObject() as never)).toBeInstanceOf(Error);
  });

  test('is valid from a minute ago for 24 h, or as configured, never beyond the root', async () => {
    const { csr } = await request();
    const { leaf, issued } = await sign(await open(), csr);
    expect(leaf.validFromDate.getTime()).toBe(nowMs - CLOCK_SKEW_MS);
    expect(leaf.validToDate.getTime()).toBe(nowMs + CERTIFICATE_TTL_MS);
    expect(issued.expiresAtMs).toBe(nowMs + CERTIFICATE_TTL_MS);
    const short = await sign(await open({ certificateTtlMs: 60_000 }), csr);
    expect(short.leaf.validToDate.getTime()).toBe(nowMs + 60_000);
    const rootEndMs = nowMs + ROOT_TTL_MS;
    nowMs = rootEndMs - 5000;
    expect((await sign(await open(), csr)).leaf.validToDate.getTime()).toBe(rootEndMs);
  });

  test('serial numbers differ', async () => {
    const authority = await open();
    const { csr } = await request();
    const [one, two] = [await sign(authority, csr), await sign(authority, csr)];
    expect(one.leaf.serialNumber).not.toBe(two.leaf.serialNumber);
    expect(one.leaf.serialNumber.length).toBeGreaterThanOrEqual(16);
  });

  test('is refused for the control plane itself and for names that make no id', async () => {
    const authority = await open();
    const checked = await checkCsr((await request()).csr);
    if (!checked.ok) throw new Error(checked.error);
    expect(isReserved('weft-system', 'control-plane')).toBe(true);
    await expect(authority.sign(checked.publicKey, 'weft-system', 'control-plane')).rejects.toThrow('own identity');
    await expect(authority.sign(checked.publicKey, 'a/b', 'c')).rejects.toThrow('namespace');
  });
});

test('server and workload authenticate each other in a TLS 1.3 handshake', async () => {
  const authority = await open();
  const own = await authority.issueServer(['localhost'], ['127.0.0.1']);
  const { csr, key } = await request();
  const { leaf } = await sign(authority, csr);
  const ca = new X509Certificate(authority.trustBundle[0] ?? '').toString();
  const server = createServer({ key: own.keyPem, cert: own.chainPem, ca, requestCert: true, minVersion: 'TLSv1.3' });
  const seen = new Promise<TLSSocket>((resolve, reject) => {
    server.once('secureConnection', resolve).once('tlsClientError', reject);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const port = (server.address() as AddressInfo).port;
  const pem = key.export({ type: 'pkcs8', format: 'pem' });
  const client = connect({ port, host: '127.0.0.1', ca, key: pem, cert: leaf.toString(), servername: 'localhost' });
  try {
    await once(client, 'secureConnect');
    const accepted = await seen;
    expect(accepted.authorized).toBe(true);
    expect(accepted.getPeerX509Certificate()?.subjectAltName).toBe('URI:spiffe://mesh.test/ns/shop/sa/orders');
    expect(client.getPeerX509Certificate()?.subjectAltName).toContain(own.spiffeId);
    // The root travels in the handshake, so that a joining sidecar can compare it with its token's hash.
    const root = client.getPeerX509Certificate()?.issuerCertificate;
    const der = root?.publicKey.export({ type: 'spki', format: 'der' }) ?? '';
    expect(createHash('sha256').update(der).digest()).toEqual(Buffer.from(authority.rootKeyHash));
    accepted.destroy();
  } finally {
    client.destroy();
    server.close();
    await once(server, 'close');
  }
});

describe('checkCsr', () => {
  test.each([
    ['P-256', P256],
    ['P-384', { ...P256, namedCurve: 'P-384', hash: 'SHA-384' }],
    ['RSA 2048', { ...RSA, modulusLength: 2048, hash: 'SHA-256' }],
  ])('accepts %s', async (_name, algorithm) => {
    expect(await checkCsr((await request(algorithm)).csr)).toMatchObject({ ok: true });
  });

  test.each([
    ['P-521', { ...P256, namedCurve: 'P-521' }, 'not allowed'],
    ['RSA 1024', { ...RSA, modulusLength: 1024, hash: 'SHA-256' }, 'not allowed'],
    ['SHA-1', { ...RSA, modulusLength: 2048, hash: 'SHA-1' }, 'is not signed with SHA-256'],
  ])('refuses %s', async (_name, algorithm, reason) => {
    expect(await checkCsr((await request(algorithm)).csr)).toEqual({
      ok: false,
      error: expect.stringContaining(reason),
    });
  });

  test('refuses a changed request, bytes that are none, trailing bytes, and too many', async () => {
    const { csr } = await request();
    const changed = csr.slice();
    const at = Buffer.from(changed).indexOf('admin.example');
    changed[at] = 0x62;
    expect(await checkCsr(changed)).toMatchObject({
      ok: false,
      error: expect.stringContaining('not signed by the key'),
    });
    expect(await checkCsr(new Uint8Array(0))).toMatchObject({ ok: false });
    expect(await checkCsr(csr.slice(0, -9))).toMatchObject({ ok: false });
    expect(await checkCsr(Buffer.concat([csr, Buffer.of(0)]))).toMatchObject({ ok: false });
    expect(await checkCsr(Buffer.from('-----BEGIN CERTIFICATE REQUEST-----'))).toMatchObject({ ok: false });
    const tooLong = await checkCsr(new Uint8Array(CSR_BYTES_MAX + 1));
    expect(tooLong).toMatchObject({ ok: false, error: expect.stringContaining('at most') });
  });
});

test('the limit grants a burst, then the rate, and survives a clock that jumps back', () => {
  const limit = new SignLimit(now);
  for (let i = 0; i < SIGN_BURST; i++) expect(limit.take()).toBe(0);
  expect(limit.take()).toBe(1000 / SIGN_RATE_PER_SECOND);
  nowMs += 1000 / SIGN_RATE_PER_SECOND;
  expect([limit.take() === 0, limit.take() > 0]).toEqual([true, true]);
  nowMs -= 60_000;
  expect(limit.take()).toBeGreaterThan(0);
  nowMs += 3_600_000;
  for (let i = 0; i < SIGN_BURST; i++) expect(limit.take()).toBe(0);
  expect(limit.take()).toBeGreaterThan(0);
});

describe('issueCertificate', () => {
  async function parts(burst = 10) {
    const authority = await open();
    const tokens = new TokenStore({ dataDir, trustDomain: 'mesh.test', rootKeyHash: authority.rootKeyHash, now });
    const made = tokens.issue('shop', 'orders');
    if (!made.ok) throw new Error(made.error);
    const text = encodeJoinToken(made.token);
    const revocations = new RevocationStore({ dataDir, trustDomain: 'mesh.test', now, certificateTtlMs: 3_600_000 });
    return { parts: { authority, tokens, revocations, limit: new SignLimit(now, 1, burst), dnsNames: () => [] }, text };
  }

  test('a join token gives one certificate, and a bad request does not use it up', async () => {
    const { parts: given, text } = await parts();
    const credential = { kind: 'joinToken', text } as const;
    const { csr } = await request();
    expect(await issueCertificate(given, credential, csr.slice(1))).toMatchObject({ code: 'INVALID_ARGUMENT' });
    const other = (await request()).csr;
    const both = await Promise.all([
      issueCertificate(given, credential, csr),
      issueCertificate(given, credential, other),
    ]);
    expect(both.map((outcome) => outcome.ok).sort()).toEqual([false, true]);
    const [winner, loser] = both[0].ok ? [csr, other] : [other, csr];
    expect(await issueCertificate(given, credential, loser)).toMatchObject({ code: 'UNAUTHENTICATED' });
    // Whose answer was lost may ask again for the same key.
    expect(await issueCertificate(given, credential, winner)).toMatchObject({ ok: true });
  });

  test.each([
    ['spiffe://mesh.test/ns/shop/sa/orders', true],
    ['spiffe://other.test/ns/shop/sa/orders', false],
    ['spiffe://mesh.test/ns/weft-system/sa/control-plane', false],
    ['', false],
  ])('a peer certificate of %j is enough: %s', async (spiffeId, ok) => {
    const { parts: given } = await parts();
    const outcome = await issueCertificate(
      given,
      { kind: 'peerCertificate', spiffeId, serial: '0A' },
      (await request()).csr,
    );
    expect(outcome).toMatchObject(ok ? { ok, issued: { spiffeId } } : { ok, code: 'UNAUTHENTICATED' });
  });

  test('nothing is signed for a revoked account, and its token stays good until that is lifted', async () => {
    const { parts: given, text } = await parts();
    const { csr } = await request();
    const spiffeId = 'spiffe://mesh.test/ns/shop/sa/orders';
    const peer = { kind: 'peerCertificate', spiffeId, serial: '0A' } as const;
    const token = { kind: 'joinToken', text } as const;
    given.revocations.revoke({ serial: '', spiffeId }, 'stolen');
    for (const credential of [peer, token])
      expect(await issueCertificate(given, credential, csr)).toMatchObject({
        code: 'UNAUTHENTICATED',
        error: expect.stringContaining(`${spiffeId} is revoked (stolen)`),
      });
    given.revocations.lift({ serial: '', spiffeId });
    expect(await issueCertificate(given, token, csr)).toMatchObject({ ok: true });
    given.revocations.revoke({ serial: '0a', spiffeId: '' }, '');
    expect(await issueCertificate(given, peer, csr)).toMatchObject({ code: 'UNAUTHENTICATED' });
    expect(await issueCertificate(given, { ...peer, serial: '0B' }, csr)).toMatchObject({ ok: true });
  });

  test('the names of Services are those of the attested account, for join and renewal', async () => {
    const { parts: given, text } = await parts();
    const asked: string[] = [];
    const dnsNames = (...account: string[]) => {
      asked.push(account.join('/'));
      return ['orders.shop'];
    };
    const spiffeId = 'spiffe://mesh.test/ns/shop/sa/other';
    for (const credential of [
      { kind: 'joinToken', text } as const,
      { kind: 'peerCertificate', spiffeId, serial: '0A' } as const,
    ]) {
      const outcome = await issueCertificate({ ...given, dnsNames }, credential, (await request()).csr);
      if (!outcome.ok) throw new Error(outcome.error);
      expect(new X509Certificate(outcome.issued.chain[0] ?? '').subjectAltName).toContain('DNS:orders.shop');
    }
    expect(asked).toEqual(['shop/orders', 'shop/other']);
  });

  test('who proves nothing spends nothing of the limit; who is over it keeps the token', async () => {
    const { parts: given, text } = await parts(1);
    const { csr } = await request();
    const nobody = { kind: 'joinToken', text: 'weft1.AAAA' } as const;
    for (let i = 0; i < 3; i++) expect(await issueCertificate(given, nobody, csr)).toMatchObject({ ok: false });
    const peer = { kind: 'peerCertificate', spiffeId: 'spiffe://mesh.test/ns/shop/sa/orders', serial: '0A' } as const;
    expect(await issueCertificate(given, peer, csr)).toMatchObject({ ok: true });
    const token = { kind: 'joinToken', text } as const;
    const limited = await issueCertificate(given, token, csr);
    expect(limited).toMatchObject({ code: 'RESOURCE_EXHAUSTED', retryAfterMs: 1000 });
    nowMs += 1000;
    expect(await issueCertificate(given, token, csr)).toMatchObject({ ok: true });
  });
});
