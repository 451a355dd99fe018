// The text an operator carries from `weft token` to a new workload. Beside the secret it holds the hash of the root's
// public key, so the sidecar can verify the control plane on first contact, before it has any trust bundle.

import { formatSpiffeId } from './spiffe.ts';

/** What a join token says. Only `id` and `secret` prove anything; the rest tells the holder whom to trust and ask. */
export interface JoinToken {
  /** Looks up the record in the control plane; not secret. 1 to 64 characters of A-Z, a-z, 0-9, "-", "_". */
  readonly id: string;
  /** 32 random bytes; the control plane keeps only their hash. */
  readonly secret: Uint8Array;
  /** SHA-256 over the root's public key (SubjectPublicKeyInfo, DER); 32 bytes. Same pin as RFC 7469 §2.4. */
  readonly rootKeyHash: Uint8Array;
  readonly trustDomain: string;
  readonly namespace: string;
  readonly serviceAccount: string;
  /** Unix time in milliseconds from which on the token is refused. */
  readonly expiresAtMs: number;
}

/** The token, or a sentence that says what is wrong with the text and how to get a good one. */
export type JoinTokenResult =
  | { readonly ok: true; readonly token: JoinToken }
  | { readonly ok: false; readonly error: string };

/** Length in bytes of the secret and of the root key hash: 256 bits. */
export const JOIN_TOKEN_SECRET_BYTES = 32;

/** Longest token text in characters; three names at their limits fit, a wrong file given as token is refused early. */
export const JOIN_TOKEN_CHARS_MAX = 2048;

const PREFIX = 'weft1.';
const ID = /^[A-Za-z0-9_-]{1,64}$/;
const BASE64URL = /^[A-Za-z0-9_-]+$/;
const HINT = 'make a new one with `weft token --service-account NAME` and copy the whole line';

/** Writes `weft1.<base64url of JSON>`. Give it names that passed `formatSpiffeId`; `decodeJoinToken` reads it back. */
export function encodeJoinToken(token: JoinToken): string {
  const body = {
    id: token.id,
    secret: Buffer.from(token.secret).toString('base64url'),
    root: Buffer.from(token.rootKeyHash).toString('base64url'),
    td: token.trustDomain,
    ns: token.namespace,
    sa: token.serviceAccount,
    exp: token.expiresAtMs,
  };
  return PREFIX + Buffer.from(JSON.stringify(body)).toString('base64url');
}

/** Reads a token; white space around it (a file's last newline) is dropped. Never throws, never repeats the secret. */
export function decodeJoinToken(text: string): JoinTokenResult {
  const trimmed = text.trim();
  if (trimmed === '') return fail('is empty');
  if (trimmed.length > JOIN_TOKEN_CHARS_MAX) return fail(`is longer than ${JOIN_TOKEN_CHARS_MAX} characters`);
  if (!trimmed.startsWith(PREFIX)) {
    if (/^weft\d+\./.test(trimmed)) return fail('is of a newer format than this version of weft reads; upgrade weft');
    return fail(`does not start with "${PREFIX}"`);
  }
  const encoded = trimmed.slice(PREFIX.length);
  if (!BASE64URL.test(encoded)) return fail('has characters outside base64url');
  const body = parseObject(Buffer.from(encoded, 'base64url').toString('utf8'));
  if (body === null) return fail('is cut off or damaged');
  return read(body);
}

function read(body: Readonly<Record<string, unknown>>): JoinTokenResult {
  const { id, td, ns, sa, exp } = body;
  const secret = readBytes(body.secret);
  const rootKeyHash = readBytes(body.root);
  if (typeof id !== 'string' || !ID.test(id)) return fail('has no valid id');
  if (secret === null) return fail(`has no secret of ${JOIN_TOKEN_SECRET_BYTES} bytes`);
  if (rootKeyHash === null) return fail('has no SHA-256 hash of the root key');
  if (typeof td !== 'string' || typeof ns !== 'string' || typeof sa !== 'string') return fail('has no identity');
  if (typeof exp !== 'number' || !Number.isSafeInteger(exp) || exp <= 0) return fail('has no valid expiry');
  const spiffe = formatSpiffeId({ trustDomain: td, namespace: ns, serviceAccount: sa });
  if (!spiffe.ok) return fail(`names no valid identity (${spiffe.error})`);
  const token = { id, secret, rootKeyHash, trustDomain: td, namespace: ns, serviceAccount: sa, expiresAtMs: exp };
  return { ok: true, token };
}

function parseObject(json: string): Readonly<Record<string, unknown>> | null {
  try {
    const value: unknown = JSON.parse(json);
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : null;
  } catch {
    return null;
  }
}

function readBytes(value: unknown): Uint8Array | null {
  if (typeof value !== 'string' || !BASE64URL.test(value)) return null;
  const bytes = Buffer.from(value, 'base64url');
  return bytes.length === JOIN_TOKEN_SECRET_BYTES ? new Uint8Array(bytes) : null;
}

function fail(what: string): JoinTokenResult {
  return { ok: false, error: `join token ${what}; ${HINT}` };
}
