// Who is trusted no more, as the control plane keeps it: one certificate by its serial number, or a service account with
// every certificate it has and asks for. In a file of the data directory, and with every sidecar.

import { join } from 'node:path';
import { readPrivateFile, writePrivateFile } from '../../proto/kit/private-file.ts';
import { parseSpiffeId } from '../../proto/kit/spiffe.ts';
import { isReserved } from './authority.ts';

/** One of the two, the other empty. */
export interface Revoked {
  /** Upper-case hexadecimal of an even number of digits, as openssl and Node print it. */
  readonly serial: string;
  readonly spiffeId: string;
}

/** A revocation in force. */
export interface Revocation extends Revoked {
  readonly revokedAtMs: number;
  /** 0: until it is lifted. */
  readonly expiresAtMs: number;
  /** As somebody wrote it; may be empty. */
  readonly reason: string;
}

/** Done, or a sentence for the operator. */
export type RevokeResult =
  | { readonly ok: true; readonly revocation: Revocation }
  | { readonly ok: false; readonly error: string };

/** What a store of revocations needs. */
export interface RevocationStoreOptions {
  /** Folder of `revocations.json` (0600). One process at a time may write it. */
  readonly dataDir: string;
  readonly trustDomain: string;
  /** Unix time in milliseconds. */
  readonly now: () => number;
  /** Life of a workload certificate: a serial number is kept as long, and at least {@link SERIAL_KEPT_MS_MIN}. */
  readonly certificateTtlMs: number;
}

/** 30 days: certificates may be out that were signed when `--certificate-ttl` was longer than it is now. */
export const SERIAL_KEPT_MS_MIN = 30 * 24 * 60 * 60 * 1000;

/** Most revocations at once: every sidecar has them all, at about 100 bytes each. Whoever has more needs a new root. */
export const REVOCATIONS_MAX = 10_000;

/** Longest reason in characters: a sentence and a ticket. */
export const REASON_MAX = 256;

/** 20 octets (RFC 5280 §4.1.2.2). */
const SERIAL = /^[0-9A-F]{1,40}$/;

/** Serial number or SPIFFE id: the name of its resource. */
export function revocationName({ serial, spiffeId }: Revoked): string {
  return serial === '' ? spiffeId : serial;
}

/** Hexadecimal in any case, with or without colons, as the form of {@link Revoked}; null: none. */
export function parseSerial(text: string): string | null {
  const digits = text
    .replaceAll(':', '')
    .toUpperCase()
    .replace(/^0+(?=.)/, '');
  if (!SERIAL.test(digits)) return null;
  return digits.length % 2 === 0 ? digits : `0${digits}`;
}

/** Revocations in force. The file is read once, in the constructor, which throws if it cannot: forgotten ones would let in. */
export class RevocationStore {
  readonly #path: string;
  readonly #options: RevocationStoreOptions;
  #all: ReadonlyMap<string, Revocation>;

  constructor(options: RevocationStoreOptions) {
    this.#path = join(options.dataDir, 'revocations.json');
    this.#options = options;
    const text = readPrivateFile(this.#path);
    this.#all = text === null ? new Map() : parseFile(this.#path, text);
  }

  /** Those that have not expired, by name. */
  list(): Revocation[] {
    return [...this.#unexpired().values()].sort((a, b) => (revocationName(a) < revocationName(b) ? -1 : 1));
  }

  /** Why this peer is refused, or null. @param peer `serial` empty: its certificate is not known. */
  refusal({ serial, spiffeId }: Revoked): string | null {
    const found = this.#all.get(spiffeId) ?? this.#all.get(serial);
    if (found === undefined) return null;
    const what = found.serial === '' ? found.spiffeId : `certificate ${found.serial} of ${spiffeId}`;
    const flag = found.serial === '' ? '--service-account NAME' : `--serial ${found.serial}`;
    return `${what} is revoked${found.reason === '' ? '' : ` (${found.reason})`}; \`weft revoke --lift ${flag}\` lifts that`;
  }

  /** Revokes, durably; again: with the new reason. `serial` may be in any form of {@link parseSerial}. Throws when the disk fails. */
  revoke(subject: Revoked, reason: string): RevokeResult {
    const checked = this.#check(subject);
    if (typeof checked === 'string') return { ok: false, error: checked };
    if (reason.length > REASON_MAX) return { ok: false, error: `a reason has at most ${REASON_MAX} characters` };
    const all = this.#unexpired();
    const name = revocationName(checked);
    if (!all.has(name) && all.size >= REVOCATIONS_MAX) {
      const error = `${REVOCATIONS_MAX} are revoked already; revoke service accounts in place of certificates, and lift what is old`;
      return { ok: false, error };
    }
    const nowMs = this.#options.now();
    const keptMs = Math.max(this.#options.certificateTtlMs, SERIAL_KEPT_MS_MIN);
    const expiresAtMs = checked.serial === '' ? 0 : nowMs + keptMs;
    const revocation = { ...checked, revokedAtMs: nowMs, expiresAtMs, reason };
    this.#save(new Map(all).set(name, revocation));
    return { ok: true, revocation };
  }

  /** Trusts again what was revoked. Throws when the disk fails. */
  lift(subject: Revoked): RevokeResult {
    const checked = this.#check(subject);
    if (typeof checked === 'string') return { ok: false, error: checked };
    const all = this.#unexpired();
    const name = revocationName(checked);
    const revocation = all.get(name);
    if (revocation === undefined) {
      return { ok: false, error: `${name} is not revoked; \`weft get revocations\` lists what is` };
    }
    all.delete(name);
    this.#save(all);
    return { ok: true, revocation };
  }

  #check({ serial, spiffeId }: Revoked): Revoked | string {
    if ((serial === '') === (spiffeId === '')) return 'name one certificate or one service account';
    if (serial !== '') {
      const parsed = parseSerial(serial);
      if (parsed !== null) return { serial: parsed, spiffeId: '' };
      return `${JSON.stringify(serial.slice(0, 100))} is no serial number; write up to 40 hexadecimal digits, as \`openssl x509 -serial\` prints them`;
    }
    const parsed = parseSpiffeId(spiffeId);
    if (!parsed.ok) return parsed.error;
    const { trustDomain, namespace, serviceAccount } = parsed.identity;
    if (trustDomain !== this.#options.trustDomain)
      return `${spiffeId} is not of this trust domain, ${this.#options.trustDomain}`;
    if (isReserved(namespace, serviceAccount)) return `${spiffeId} is the control plane's own identity`;
    return { serial: '', spiffeId };
  }

  #unexpired(): Map<string, Revocation> {
    const nowMs = this.#options.now();
    return new Map([...this.#all].filter(([, { expiresAtMs }]) => expiresAtMs === 0 || expiresAtMs > nowMs));
  }

  /** Disk first: when it fails, memory still says what the file says. */
  #save(all: ReadonlyMap<string, Revocation>): void {
    writePrivateFile(this.#path, JSON.stringify({ version: 1, revocations: [...all.values()] }));
    this.#all = all;
  }
}

function parseFile(path: string, text: string): Map<string, Revocation> {
  try {
    const file = JSON.parse(text) as { version?: unknown; revocations?: unknown };
    if (file.version !== 1 || !Array.isArray(file.revocations)) throw new Error('not version 1');
    const all = new Map<string, Revocation>();
    for (const one of file.revocations as unknown[]) {
      if (!isRevocation(one)) throw new Error('an entry is not a revocation');
      all.set(revocationName(one), one);
    }
    return all;
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new Error(
      `${path} cannot be read (${why}); restore it from a backup, or remove it and revoke again what it held`,
    );
  }
}

function isRevocation(value: unknown): value is Revocation {
  if (typeof value !== 'object' || value === null) return false;
  const { serial, spiffeId, reason, revokedAtMs, expiresAtMs } = value as Record<string, unknown>;
  const isText = [serial, spiffeId, reason].every((text) => typeof text === 'string');
  return isText && typeof revokedAtMs === 'number' && typeof expiresAtMs === 'number';
}
