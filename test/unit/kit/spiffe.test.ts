// The SPIFFE grammar as data: what is refused matters more than what is accepted, since ids decide authorization.
import { describe, expect, test } from 'vitest';
import {
  formatSpiffeId,
  NAME_BYTES_MAX,
  parseSpiffeId,
  SPIFFE_ID_BYTES_MAX,
  TRUST_DOMAIN_BYTES_MAX,
} from '../../../proto/kit/spiffe.ts';

describe('parseSpiffeId', () => {
  test.each([
    ['spiffe://cluster.local/ns/shop/sa/orders', 'cluster.local', 'shop', 'orders'],
    ['spiffe://a_b-c.9/ns/N.1/sa/S_2-x', 'a_b-c.9', 'N.1', 'S_2-x'],
    ['spiffe://td/ns/ns/sa/sa', 'td', 'ns', 'sa'],
    ['spiffe://td/ns/.../sa/.a', 'td', '...', '.a'],
  ])('reads %s', (text, trustDomain, namespace, serviceAccount) => {
    expect(parseSpiffeId(text)).toEqual({ ok: true, id: text, identity: { trustDomain, namespace, serviceAccount } });
  });

  test.each([
    ['', 'does not start'],
    ['SPIFFE://td/ns/a/sa/b', 'does not start'],
    ['https://td/ns/a/sa/b', 'does not start'],
    ['spiffe:/td/ns/a/sa/b', 'does not start'],
    [' spiffe://td/ns/a/sa/b', 'does not start'],
    ['spiffe://td', 'form'],
    ['spiffe://td/ns/a', 'form'],
    ['spiffe://td/ns/a/sa/b/', 'form'],
    ['spiffe://td/ns/a/sa/b/c', 'form'],
    ['spiffe://td/sa/a/ns/b', 'form'],
    ['spiffe://td//ns/a/sa/b', 'form'],
    ['spiffe:///ns/a/sa/b', 'trust domain'],
    ['spiffe://TD/ns/a/sa/b', 'trust domain'],
    ['spiffe://td:80/ns/a/sa/b', 'trust domain'],
    ['spiffe://u@td/ns/a/sa/b', 'trust domain'],
    ['spiffe://td/ns//sa/b', 'namespace'],
    ['spiffe://td/ns/./sa/b', 'dot segments'],
    ['spiffe://td/ns/a/sa/..', 'dot segments'],
    ['spiffe://td/ns/a%2fb/sa/b', 'namespace'],
    ['spiffe://td/ns/a/sa/b?x', 'service account'],
    ['spiffe://td/ns/a/sa/b#x', 'service account'],
    ['spiffe://td/ns/a/sa/b\n', 'service account'],
    ['spiffe://td/ns/a/sa/b\0', 'service account'],
    ['spiffe://td/ns/a/sa/\u00e9', 'service account'],
    [`spiffe://${'t'.repeat(TRUST_DOMAIN_BYTES_MAX + 1)}/ns/a/sa/b`, 'trust domain'],
    [`spiffe://td/ns/${'n'.repeat(NAME_BYTES_MAX + 1)}/sa/b`, 'namespace'],
    [`spiffe://td/ns/a/sa/${'b'.repeat(SPIFFE_ID_BYTES_MAX)}`, 'at most 2048'],
  ])('refuses %j', (text, reason) => {
    const result = parseSpiffeId(text);
    expect(result.ok ? 'accepted' : result.error).toContain(reason);
  });

  test('accepts names at their limits', () => {
    const text = `spiffe://${'t'.repeat(255)}/ns/${'n'.repeat(253)}/sa/${'s'.repeat(253)}`;
    expect(parseSpiffeId(text).ok).toBe(true);
  });
});

test('formatSpiffeId cannot be made to name another path by a slash in a name', () => {
  const result = formatSpiffeId({ trustDomain: 'td', namespace: 'a/sa/admin', serviceAccount: 'b' });
  expect(result.ok).toBe(false);
});
