// A certificate request proves one thing: that its sender holds the private key. Everything else in it is ignored.

import 'reflect-metadata';
import { createPublicKey, type KeyObject } from 'node:crypto';
import { Pkcs10CertificateRequest, type PublicKey } from '@peculiar/x509';

/** The key to certify, or a sentence that says why this request is not signed. */
export type CsrResult =
  | { readonly ok: true; readonly publicKey: PublicKey }
  | { readonly ok: false; readonly error: string };

/** Largest request in bytes: an RSA 4096 request with extensions is below 3 KiB. */
export const CSR_BYTES_MAX = 8 * 1024;

const CURVES: readonly string[] = ['prime256v1', 'secp384r1'];
const RSA_BITS_MIN = 2048;
/** Larger moduli only cost the verifier time. */
const RSA_BITS_MAX = 4096;
const HASHES: readonly string[] = ['SHA-256', 'SHA-384', 'SHA-512'];

/**
 * Checks a PKCS #10 request (DER, RFC 2986): size, key (ECDSA P-256 or P-384, RSA 2048 to 4096 with exponent 65537),
 * signature by that key over SHA-2. Requested names and extensions are not looked at. Never throws for bad input.
 */
export async function checkCsr(der: Uint8Array): Promise<CsrResult> {
  if (der.length > CSR_BYTES_MAX) return fail(`has ${der.length} bytes; at most ${CSR_BYTES_MAX} are allowed`);
  if (!isOneSequence(der)) return fail('is not a PKCS #10 request in DER');
  let request: Pkcs10CertificateRequest;
  let key: KeyObject;
  try {
    request = new Pkcs10CertificateRequest(new Uint8Array(der));
    key = createPublicKey({ key: Buffer.from(request.publicKey.rawData), format: 'der', type: 'spki' });
  } catch {
    return fail('is not a PKCS #10 request in DER');
  }
  const keyError = checkKey(key);
  if (keyError !== null) return fail(keyError);
  try {
    const hash = request.signatureAlgorithm.hash?.name;
    if (hash === undefined || !HASHES.includes(hash)) return fail('is not signed with SHA-256, SHA-384 or SHA-512');
    if (!(await request.verify())) return fail('is not signed by the key in it');
  } catch {
    return fail('has a signature that cannot be verified');
  }
  return { ok: true, publicKey: request.publicKey };
}

/** Whether the bytes are exactly one DER SEQUENCE; the library would ignore what follows it (X.690 §8.1.3). */
function isOneSequence(der: Uint8Array): boolean {
  if (der[0] !== 0x30) return false;
  const [, first = 0, second = 0, third = 0] = der;
  if (first < 0x80) return der.length === 2 + first;
  if (first === 0x81) return der.length === 3 + second;
  return first === 0x82 && der.length === 4 + second * 256 + third;
}

function checkKey(key: KeyObject): string | null {
  const details = key.asymmetricKeyDetails ?? {};
  if (key.asymmetricKeyType === 'ec' && CURVES.includes(details.namedCurve ?? '')) return null;
  if (key.asymmetricKeyType === 'rsa') {
    const bits = details.modulusLength ?? 0;
    if (bits >= RSA_BITS_MIN && bits <= RSA_BITS_MAX && details.publicExponent === 65537n) return null;
  }
  return 'has a key that is not allowed; use ECDSA P-256 (recommended), ECDSA P-384, or RSA with 2048 to 4096 bits';
}

function fail(what: string): CsrResult {
  return { ok: false, error: `certificate request ${what}` };
}
