// Join tokens: single use, expiring, bound to a service account, and of no use to who reads the file.
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { TOKEN_TTL_MS, TOKEN_TTL_MS_MAX, TOKENS_MAX, TokenStore } from '../../../control-plane/identity/tokens.ts';
import type { JoinToken } from '../../../proto/kit/join-token.ts';

/** Public keys stand in as bytes: the store only compares them. */
const KEY = new Uint8Array([1]);
const OTHER_KEY = new Uint8Array([2]);
let dataDir = '';
let nowMs = 1_800_000_000_000;

beforeEach(() => {
  dataDir = mkdtempSync(join(tmpdir(), 'weft-token-'));
  nowMs = 1_800_000_000_000;
});
afterEach(() => rmSync(dataDir, { recursive: true, force: true }));

function open(): TokenStore {
  return new TokenStore({ dataDir, trustDomain: 'td', rootKeyHash: new Uint8Array(32).fill(1), now: () => nowMs });
}

function issue(store: TokenStore, account = 'orders', ttlMs?: number): JoinToken {
  const result = store.issue('shop', account, ttlMs);
  if (!result.ok) throw new Error(result.error);
  return result.token;
}

const file = () => join(dataDir, 'tokens.json');
const refused = (reason: string) => ({ ok: false, error: expect.stringContaining(reason) });

describe('token store', () => {
  test('CVE class 11: a token proves its service account for one key', () => {
    const store = open();
    const token = issue(store);
    expect(token).toMatchObject({ trustDomain: 'td', namespace: 'shop', serviceAccount: 'orders' });
    expect(token.expiresAtMs).toBe(nowMs + TOKEN_TTL_MS);
    expect(store.check(token)).toMatchObject({ ok: true });
    expect(store.redeem(token, KEY)).toEqual({ ok: true, namespace: 'shop', serviceAccount: 'orders' });
    expect(store.redeem(token, OTHER_KEY)).toEqual(refused('used already'));
    // The answer may have been lost: the same key asks again, until the token expires.
    expect(store.redeem(token, KEY)).toMatchObject({ ok: true });
    nowMs = token.expiresAtMs;
    expect(store.redeem(token, KEY)).toEqual(refused('expired'));
  });

  test('both waiting and used tokens are known after a restart', () => {
    const store = open();
    const [used, waiting] = [issue(store), issue(store, 'cart')];
    store.redeem(used, KEY);
    const again = open();
    expect(again.redeem(used, OTHER_KEY)).toEqual(refused('used already'));
    expect(again.redeem(used, KEY)).toMatchObject({ ok: true });
    expect(again.redeem(waiting, KEY)).toEqual({ ok: true, namespace: 'shop', serviceAccount: 'cart' });
  });

  test('the file is private and holds no secret; no temporary file stays', () => {
    const token = issue(open());
    expect(statSync(file()).mode & 0o777).toBe(0o600);
    const text = readFileSync(file(), 'utf8');
    expect(text).toContain(token.id);
    expect(text).not.toContain(Buffer.from(token.secret).toString('base64url'));
    expect(readdirSync(dataDir)).toEqual(['tokens.json']);
  });

  test('CVE class 11: a wrong secret, an unknown id and changed names are refused and use nothing up', () => {
    const store = open();
    const token = issue(store);
    const unknown = store.redeem({ ...token, id: 'other' }, KEY);
    const wrong = store.redeem({ ...token, secret: token.secret.map((byte, i) => (i === 31 ? byte ^ 1 : byte)) }, KEY);
    expect(unknown).toEqual(refused('is unknown'));
    expect(wrong).toEqual(unknown);
    expect(store.redeem({ ...token, serviceAccount: 'admin' }, KEY)).toEqual(refused('was changed'));
    expect(store.redeem({ ...token, namespace: 'other' }, KEY)).toEqual(refused('was changed'));
    expect(store.redeem({ ...token, trustDomain: 'other' }, KEY)).toEqual(refused('was changed'));
    expect(store.redeem(token, KEY).ok).toBe(true);
  });

  test('CVE class 11: expiry is the stored one, to the millisecond', () => {
    const store = open();
    const token = issue(store, 'orders', 1000);
    nowMs += 999;
    expect(store.check(token).ok).toBe(true);
    nowMs += 1;
    expect(store.redeem({ ...token, expiresAtMs: nowMs + 1000 }, KEY)).toEqual(refused('expired at'));
  });

  test('expired tokens are purged, on request and when one is issued', () => {
    const store = open();
    issue(store, 'a', 1000);
    issue(store, 'b', 2000);
    expect(store.purgeExpired()).toBe(0);
    nowMs += 1000;
    expect(store.purgeExpired()).toBe(1);
    expect(open().size).toBe(1);
    nowMs += 1000;
    issue(store, 'c');
    expect([store.size, open().size]).toEqual([1, 1]);
  });

  test.each([
    ['shop', '../x', TOKEN_TTL_MS, 'service account'],
    ['', 'orders', TOKEN_TTL_MS, 'namespace'],
    ['weft-system', 'control-plane', TOKEN_TTL_MS, 'own identity'],
    ['shop', 'orders', 0, '30 days'],
    ['shop', 'orders', Number.NaN, '30 days'],
    ['shop', 'orders', TOKEN_TTL_MS_MAX + 1, '30 days'],
  ])('is not issued for %j %j %d', (namespace, account, ttlMs, reason) => {
    expect(open().issue(namespace, account, ttlMs)).toEqual(refused(reason));
  });

  test('a full store issues no more until some expire', () => {
    const entry = {
      secretHash: 'A'.repeat(43),
      namespace: 'n',
      serviceAccount: 's',
      expiresAtMs: nowMs + 1,
      redeemedBy: '',
    };
    const tokens = Array.from({ length: TOKENS_MAX }, (_, i) => ({ ...entry, id: `t${i}` }));
    writeFileSync(file(), JSON.stringify({ version: 1, tokens }), { mode: 0o600 });
    const store = open();
    expect(store.issue('shop', 'orders')).toEqual(refused('have not expired yet'));
    nowMs += 1;
    expect(store.issue('shop', 'orders').ok).toBe(true);
  });

  test('a file others can read, or a damaged one, stops the start', () => {
    issue(open());
    chmodSync(file(), 0o644);
    expect(open).toThrow('chmod 600');
    for (const text of ['', '{}', '{"version":2,"tokens":[]}', '{"version":1,"tokens":[{"id":1}]}', 'null']) {
      writeFileSync(file(), text);
      chmodSync(file(), 0o600);
      expect(open).toThrow('cannot be read');
    }
  });

  test('when the disk fails the token stays valid and memory agrees with the file', () => {
    const store = open();
    const token = issue(store);
    rmSync(dataDir, { recursive: true });
    writeFileSync(dataDir, 'a file where the folder was');
    expect(() => store.redeem(token, KEY)).toThrow();
    expect(store.check(token).ok).toBe(true);
  });
});
