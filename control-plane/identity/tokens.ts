// Join tokens on the control plane's side: issued for one service account, redeemed for one key. The file holds
// hashes, so who reads it cannot join; a token is marked as used in it before its redeemer gets an answer.

import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { join } from 'node:path';
import { JOIN_TOKEN_SECRET_BYTES, type JoinToken } from '../../proto/kit/join-token.ts';
import { readPrivateFile, writePrivateFile } from '../../proto/kit/private-file.ts';
import { formatSpiffeId } from '../../proto/kit/spiffe.ts';
import { isReserved } from './authority.ts';

/** What a store of tokens needs. */
export interface TokenStoreOptions {
  /** Folder of `tokens.json` (0600). One process at a time may write it. */
  readonly dataDir: string;
  readonly trustDomain: string;
  /** Of the authority; goes into every token. */
  readonly rootKeyHash: Uint8Array;
  /** Unix time in milliseconds. */
  readonly now: () => number;
}

/** A new token, or a sentence for the operator. */
export type IssueResult =
  | { readonly ok: true; readonly token: JoinToken }
  | { readonly ok: false; readonly error: string };

/** The workload that a token proves, or why it proves nothing. The reason never tells an unknown token from a used one. */
export type RedeemResult =
  | { readonly ok: true; readonly namespace: string; readonly serviceAccount: string }
  | { readonly ok: false; readonly error: string };

/** Life of a token when none is asked for: 1 h, time to start one workload by hand. */
export const TOKEN_TTL_MS = 60 * 60 * 1000;

/** Longest life: 30 days, for images built ahead of time; a secret that lies around longer is a password. */
export const TOKEN_TTL_MS_MAX = 30 * 24 * 60 * 60 * 1000;

/** Most tokens held at once, waiting or used within their life; the file is written whole, at about 200 bytes each. */
export const TOKENS_MAX = 10_000;

interface StoredToken {
  readonly id: string;
  /** SHA-256 of the secret, base64url. The secret has 256 random bits, so a slow hash would add nothing. */
  readonly secretHash: string;
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly expiresAtMs: number;
  /** SHA-256 of the public key (SPKI, DER) that redeemed it, base64url; empty: waiting. */
  readonly redeemedBy: string;
}

/** Tokens issued and not yet expired. Reading the file happens once, in the constructor, which throws if it cannot. */
export class TokenStore {
  readonly #path: string;
  readonly #options: TokenStoreOptions;
  #tokens: Map<string, StoredToken>;

  constructor(options: TokenStoreOptions) {
    this.#path = join(options.dataDir, 'tokens.json');
    this.#options = options;
    const text = readPrivateFile(this.#path);
    this.#tokens = text === null ? new Map() : parseTokens(this.#path, text);
  }

  /** How many tokens are held, redeemed and expired ones included until they are purged. */
  get size(): number {
    return this.#tokens.size;
  }

  /** Makes a token and stores its hash durably. Purges expired ones first. Throws when the disk fails. */
  issue(namespace: string, serviceAccount: string, ttlMs: number = TOKEN_TTL_MS): IssueResult {
    const { trustDomain, rootKeyHash, now } = this.#options;
    const spiffe = formatSpiffeId({ trustDomain, namespace, serviceAccount });
    if (!spiffe.ok) return spiffe;
    if (isReserved(namespace, serviceAccount)) {
      return { ok: false, error: `${spiffe.id} is the control plane's own identity; choose another service account` };
    }
    if (!Number.isSafeInteger(ttlMs) || ttlMs <= 0 || ttlMs > TOKEN_TTL_MS_MAX) {
      return { ok: false, error: `a token's life must be above 0 and at most ${TOKEN_TTL_MS_MAX} ms (30 days)` };
    }
    const kept = this.#unexpired();
    if (kept.size >= TOKENS_MAX) {
      return { ok: false, error: `${TOKENS_MAX} tokens have not expired yet; issue shorter-lived ones, or wait` };
    }
    const secret = new Uint8Array(randomBytes(JOIN_TOKEN_SECRET_BYTES));
    const id = randomBytes(12).toString('base64url');
    const expiresAtMs = now() + ttlMs;
    const secretHash = hash(secret).toString('base64url');
    this.#save(kept.set(id, { id, secretHash, namespace, serviceAccount, expiresAtMs, redeemedBy: '' }));
    return { ok: true, token: { id, secret, rootKeyHash, trustDomain, namespace, serviceAccount, expiresAtMs } };
  }

  /**
   * Whether `redeem` could succeed now: for one key only, if the token was used. Changes nothing: for checks that
   * must come before a token is used up.
   */
  check(token: JoinToken): RedeemResult {
    const stored = this.#tokens.get(token.id);
    // Compared also for an unknown id, so that time tells nothing about which ids exist.
    const expected = Buffer.from(stored?.secretHash ?? '', 'base64url');
    const matches = timingSafeEqual(hash(token.secret), expected.length === 32 ? expected : Buffer.alloc(32));
    if (stored === undefined || !matches) return refuse('is unknown or was used already');
    const { namespace, serviceAccount, expiresAtMs } = stored;
    if (expiresAtMs <= this.#options.now()) return refuse(`expired at ${new Date(expiresAtMs).toISOString()}`);
    const same = token.namespace === namespace && token.serviceAccount === serviceAccount;
    if (!same || token.trustDomain !== this.#options.trustDomain) return refuse('was changed after it was issued');
    return { ok: true, namespace, serviceAccount };
  }

  /**
   * Uses the token up for one public key (SPKI, DER), durably, then says whom it proves. The same key may ask again
   * until the token expires: the first answer may have been lost on its way. Throws when the disk fails; the token
   * then stays as it was.
   */
  redeem(token: JoinToken, publicKey: Uint8Array): RedeemResult {
    const result = this.check(token);
    const stored = this.#tokens.get(token.id);
    if (!result.ok || stored === undefined) return result;
    const redeemedBy = hash(publicKey).toString('base64url');
    if (stored.redeemedBy === redeemedBy) return result;
    if (stored.redeemedBy !== '') return refuse('is unknown or was used already');
    this.#save(new Map(this.#tokens).set(token.id, { ...stored, redeemedBy }));
    return result;
  }

  /** Drops expired tokens; gives how many. Throws when the disk fails. */
  purgeExpired(): number {
    const kept = this.#unexpired();
    const dropped = this.#tokens.size - kept.size;
    if (dropped > 0) this.#save(kept);
    return dropped;
  }

  #unexpired(): Map<string, StoredToken> {
    const nowMs = this.#options.now();
    return new Map([...this.#tokens].filter(([, token]) => token.expiresAtMs > nowMs));
  }

  /** Disk first: when it fails, memory still says what the file says. */
  #save(tokens: Map<string, StoredToken>): void {
    writePrivateFile(this.#path, JSON.stringify({ version: 1, tokens: [...tokens.values()] }));
    this.#tokens = tokens;
  }
}

function parseTokens(path: string, text: string): Map<string, StoredToken> {
  try {
    const file = JSON.parse(text) as { version?: unknown; tokens?: unknown };
    if (file.version !== 1 || !Array.isArray(file.tokens)) throw new Error('not version 1');
    const tokens = new Map<string, StoredToken>();
    for (const token of file.tokens as unknown[]) {
      if (!isStoredToken(token)) throw new Error('an entry is not a token');
      tokens.set(token.id, token);
    }
    return tokens;
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new Error(`${path} cannot be read (${why}); remove it and issue again the tokens that still wait`);
  }
}

function isStoredToken(value: unknown): value is StoredToken {
  if (typeof value !== 'object' || value === null) return false;
  const token = value as Record<string, unknown>;
  const texts = [token.id, token.secretHash, token.namespace, token.serviceAccount, token.redeemedBy];
  return texts.every((text) => typeof text === 'string') && typeof token.expiresAtMs === 'number';
}

function hash(bytes: Uint8Array): Buffer {
  return createHash('sha256').update(bytes).digest();
}

function refuse(what: string): RedeemResult {
  return { ok: false, error: `join token ${what}; make a new one with \`weft token --service-account NAME\`` };
}
