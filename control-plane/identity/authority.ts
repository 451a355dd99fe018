// The mesh's certificate authority: one self-made root, and certificates that name the attested identity, and beside it
// the Services that it serves, for clients outside the mesh.
// Source of the profile: SPIFFE X509-SVID §2 to §4, RFC 5280 §4.2.

import 'reflect-metadata';
import { createHash, webcrypto } from 'node:crypto';
import { join } from 'node:path';
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  type JsonGeneralNames,
  KeyUsageFlags,
  KeyUsagesExtension,
  PemConverter,
  type PublicKey,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509Certificate,
  X509CertificateGenerator,
} from '@peculiar/x509';
import { readPrivateFile, writePrivateFile } from '../../proto/kit/private-file.ts';
import { formatSpiffeId, type SpiffeId } from '../../proto/kit/spiffe.ts';

/** What an authority needs; every default is named below with its reason. */
export interface AuthorityOptions {
  /** Folder of `root.pem` (key and certificate in one file, 0600, so that they can never disagree). */
  readonly dataDir: string;
  /** Must stay what it was when the root was made. */
  readonly trustDomain: string;
  /** Unix time in milliseconds. */
  readonly now: () => number;
  /** Life of a workload certificate. Default {@link CERTIFICATE_TTL_MS}. */
  readonly certificateTtlMs?: number;
}

/** A signed certificate. */
export interface Issued {
  /** DER, leaf first, without the root. */
  readonly chain: readonly Uint8Array[];
  readonly spiffeId: SpiffeId;
  readonly expiresAtMs: number;
}

/** The control plane's own TLS identity. */
export interface ServerIdentity {
  readonly keyPem: string;
  /** Leaf and root: a joining sidecar trusts nothing yet and finds the root in the handshake by its token's hash. */
  readonly chainPem: string;
  readonly spiffeId: SpiffeId;
  readonly expiresAtMs: number;
}

/** The running authority. */
export interface Authority {
  readonly trustDomain: string;
  /** DER of every root to trust. */
  readonly trustBundle: readonly Uint8Array[];
  /** SHA-256 of the root's public key (SPKI, DER), for join tokens. */
  readonly rootKeyHash: Uint8Array;
  /**
   * Certifies a key for an attested workload. Throws when the names cannot be a SPIFFE id: attest before signing.
   * @param dnsNames what ordinary clients may know it by; the mesh itself looks at the SPIFFE id alone. Default none.
   */
  sign(publicKey: PublicKey, namespace: string, serviceAccount: string, dnsNames?: readonly string[]): Promise<Issued>;
  /** Makes a new key and a certificate for this control plane, reachable under the DNS names and addresses given. */
  issueServer(dnsNames: readonly string[], addresses: readonly string[]): Promise<ServerIdentity>;
}

/** 24 h: a stolen key is of use for a day at most, and half a day of control-plane outage harms nobody (as Istio). */
export const CERTIFICATE_TTL_MS = 24 * 60 * 60 * 1000;

/** 10 years, as Istio's self-made root: replaced by rotation, not by surprise. */
export const ROOT_TTL_MS = 10 * 365 * 24 * 60 * 60 * 1000;

/** Certificates begin 60 s in the past, so that a workload whose clock is behind accepts them. */
export const CLOCK_SKEW_MS = 60_000;

/** The identity of the control plane itself. */
const CONTROL_PLANE = { namespace: 'weft-system', serviceAccount: 'control-plane' } as const;

/** Whether these names are the control plane's own; no workload may get them. */
export function isReserved(namespace: string, serviceAccount: string): boolean {
  return namespace === CONTROL_PLANE.namespace && serviceAccount === CONTROL_PLANE.serviceAccount;
}

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
const PRIVATE_KEY_TAG = 'PRIVATE KEY';
const CERTIFICATE_TAG = 'CERTIFICATE';

interface Root {
  readonly certificate: X509Certificate;
  readonly key: webcrypto.CryptoKey;
}

/**
 * Opens the root in `dataDir`, or makes one when there is none. Throws with a sentence for the operator when the file
 * is readable by others, damaged, expired, or of another trust domain; it never replaces a root that exists.
 */
export async function openAuthority(options: AuthorityOptions): Promise<Authority> {
  const { trustDomain, now, certificateTtlMs = CERTIFICATE_TTL_MS } = options;
  const checked = formatSpiffeId({ trustDomain, ...CONTROL_PLANE });
  if (!checked.ok) throw new Error(checked.error);
  const path = join(options.dataDir, 'root.pem');
  const text = readPrivateFile(path);
  const root = text === null ? await createRoot(path, trustDomain, now()) : await readRoot(path, text);
  checkRoot(path, root.certificate, trustDomain, now());

  async function certify(publicKey: PublicKey, names: JsonGeneralNames, usages: ExtendedKeyUsage[]) {
    // A certificate that outlives its root would fail on the day nobody expects.
    const expiresAtMs = Math.min(now() + certificateTtlMs, root.certificate.notAfter.getTime());
    const certificate = await X509CertificateGenerator.create({
      issuer: root.certificate.subjectName,
      publicKey,
      signingKey: root.key,
      signingAlgorithm: ALGORITHM,
      notBefore: new Date(now() - CLOCK_SKEW_MS),
      notAfter: new Date(expiresAtMs),
      extensions: [
        new BasicConstraintsExtension(false, undefined, true),
        new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
        new ExtendedKeyUsageExtension(usages),
        // Critical, because the subject is empty (RFC 5280 §4.2.1.6).
        new SubjectAlternativeNameExtension(names, true),
        await SubjectKeyIdentifierExtension.create(publicKey),
        await AuthorityKeyIdentifierExtension.create(root.certificate.publicKey),
      ],
    });
    return { certificate, expiresAtMs: certificate.notAfter.getTime() };
  }

  return {
    trustDomain,
    trustBundle: [new Uint8Array(root.certificate.rawData)],
    rootKeyHash: new Uint8Array(createHash('sha256').update(spki(root.certificate.publicKey)).digest()),
    async sign(publicKey, namespace, serviceAccount, dnsNames = []) {
      const spiffe = formatSpiffeId({ trustDomain, namespace, serviceAccount });
      if (!spiffe.ok) throw new Error(spiffe.error);
      if (isReserved(namespace, serviceAccount)) throw new Error(`${spiffe.id} is the control plane's own identity`);
      // One URI name and no more (X509-SVID §2); DNS names may stand beside it.
      const names: JsonGeneralNames = [{ type: 'url', value: spiffe.id }];
      for (const value of dnsNames) names.push({ type: 'dns', value });
      const usages = [ExtendedKeyUsage.serverAuth, ExtendedKeyUsage.clientAuth];
      const { certificate, expiresAtMs } = await certify(publicKey, names, usages);
      return { chain: [new Uint8Array(certificate.rawData)], spiffeId: spiffe.id, expiresAtMs };
    },
    async issueServer(dnsNames, addresses) {
      const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
      const names: JsonGeneralNames = [{ type: 'url', value: checked.id }];
      for (const value of dnsNames) names.push({ type: 'dns', value });
      for (const value of addresses) names.push({ type: 'ip', value });
      const publicKey = (await X509CertificateGenerator.createSelfSigned({ keys, signingAlgorithm: ALGORITHM }))
        .publicKey;
      const { certificate, expiresAtMs } = await certify(publicKey, names, [ExtendedKeyUsage.serverAuth]);
      const keyPem = PemConverter.encode(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey), PRIVATE_KEY_TAG);
      const chainPem = `${certificate.toString('pem')}\n${root.certificate.toString('pem')}\n`;
      return { keyPem, chainPem, spiffeId: checked.id, expiresAtMs };
    },
  };
}

async function createRoot(path: string, trustDomain: string, nowMs: number): Promise<Root> {
  const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
  const certificate = await X509CertificateGenerator.createSelfSigned({
    name: [{ O: ['Weft'] }, { CN: ['Weft root'] }],
    keys,
    signingAlgorithm: ALGORITHM,
    notBefore: new Date(nowMs - CLOCK_SKEW_MS),
    notAfter: new Date(nowMs + ROOT_TTL_MS),
    extensions: [
      // Path length 0: this root signs leaves only.
      new BasicConstraintsExtension(true, 0, true),
      new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
      new SubjectAlternativeNameExtension([{ type: 'url', value: `spiffe://${trustDomain}` }]),
      await SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  const key = PemConverter.encode(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey), PRIVATE_KEY_TAG);
  writePrivateFile(path, `${key}\n${certificate.toString('pem')}\n`);
  return { certificate, key: keys.privateKey };
}

async function readRoot(path: string, text: string): Promise<Root> {
  try {
    const blocks = PemConverter.decodeWithHeaders(text);
    const keyDer = blocks.find((block) => block.type === PRIVATE_KEY_TAG)?.rawData;
    const certificateDer = blocks.find((block) => block.type === CERTIFICATE_TAG)?.rawData;
    if (keyDer === undefined || certificateDer === undefined) throw new Error('a block is missing');
    const key = await webcrypto.subtle.importKey('pkcs8', keyDer, ALGORITHM, false, ['sign']);
    const certificate = new X509Certificate(certificateDer);
    const probe = new Uint8Array(32);
    const signature = await webcrypto.subtle.sign(ALGORITHM, key, probe);
    const publicKey = await webcrypto.subtle.importKey('spki', spki(certificate.publicKey), ALGORITHM, false, [
      'verify',
    ]);
    const matches = await webcrypto.subtle.verify(ALGORITHM, publicKey, signature, probe);
    if (!matches) throw new Error('key and certificate do not belong together');
    return { certificate, key };
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new Error(
      `${path} is not a usable root (${why}); restore it from a backup: a new root would end every trust`,
    );
  }
}

function checkRoot(path: string, certificate: X509Certificate, trustDomain: string, nowMs: number): void {
  const names = certificate.getExtension(SubjectAlternativeNameExtension)?.names.toJSON() ?? [];
  if (names.length !== 1 || names[0]?.value !== `spiffe://${trustDomain}`) {
    throw new Error(
      `${path} is the root of ${names[0]?.value ?? 'no trust domain'}, not of spiffe://${trustDomain}; ` +
        'start with the trust domain it was made for, or give another data folder',
    );
  }
  if (certificate.notAfter.getTime() <= nowMs) {
    throw new Error(
      `${path} expired at ${certificate.notAfter.toISOString()}; is the clock right? Else make a new root`,
    );
  }
}

function spki(key: PublicKey): Uint8Array<ArrayBuffer> {
  return new Uint8Array(key.rawData);
}
