// Join tokens are typed, cut and pasted by people: every damage must give a sentence, and none may leak the secret.
import { describe, expect, test } from 'vitest';
import { decodeJoinToken, encodeJoinToken, type JoinToken } from '../../../proto/kit/join-token.ts';

const TOKEN: JoinToken = {
  id: 'k3_-Z',
  secret: new Uint8Array(32).fill(7),
  rootKeyHash: new Uint8Array(32).fill(9),
  trustDomain: 'cluster.local',
  namespace: 'shop',
  serviceAccount: 'orders',
  expiresAtMs: 1_900_000_000_000,
};
const SECRET_TEXT = Buffer.from(TOKEN.secret).toString('base64url');

function raw(change: Record<string, unknown>): string {
  const good = JSON.parse(Buffer.from(encodeJoinToken(TOKEN).slice(6), 'base64url').toString()) as object;
  return `weft1.${Buffer.from(JSON.stringify({ ...good, ...change })).toString('base64url')}`;
}

describe('decodeJoinToken', () => {
  test('reads back what was encoded, with a newline after it', () => {
    const text = encodeJoinToken(TOKEN);
    expect(text).toMatch(/^weft1\.[A-Za-z0-9_-]+$/);
    expect(decodeJoinToken(`${text}\n`)).toEqual({ ok: true, token: TOKEN });
  });

  test('reads names at their limits', () => {
    const long = { trustDomain: 't'.repeat(255), namespace: 'n'.repeat(253), serviceAccount: 's'.repeat(253) };
    expect(decodeJoinToken(encodeJoinToken({ ...TOKEN, ...long })).ok).toBe(true);
  });

  test.each([
    ['  \n', 'is empty'],
    ['hello', 'does not start'],
    ['weft2.abcd', 'newer format'],
    ['weft1.', 'base64url'],
    ['weft1.ab+/', 'base64url'],
    [encodeJoinToken(TOKEN).slice(0, -10), 'cut off'],
    [`weft1.${Buffer.from('null').toString('base64url')}`, 'cut off'],
    [`weft1.${'A'.repeat(3000)}`, 'longer than'],
    [raw({ id: 'a b' }), 'no valid id'],
    [raw({ id: 5 }), 'no valid id'],
    [raw({ secret: 'AAAA' }), 'no secret of 32 bytes'],
    [raw({ root: null }), 'root key'],
    [raw({ td: undefined }), 'no identity'],
    [raw({ sa: '../x' }), 'no valid identity'],
    [raw({ exp: '2030' }), 'no valid expiry'],
    [raw({ exp: -1 }), 'no valid expiry'],
  ])('refuses %#: %j', (text, reason) => {
    const result = decodeJoinToken(text);
    const error = result.ok ? 'accepted' : result.error;
    expect(error).toContain(reason);
    expect(error).toContain('weft token');
    expect(error).not.toContain(SECRET_TEXT);
  });
});
