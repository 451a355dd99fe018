// When the own certificate lacks names of Services that the identity serves, and that it is asked for them once.
import { afterAll, beforeAll, expect, test } from 'vitest';
import { CERTIFICATE_SERVICES_MAX, certificateNames } from '../../../proto/kit/host.ts';
import { ServedNames } from '../../../sidecar/identity/served-names.ts';
import { oddIdentity, type TestAuthority, testAuthority } from '../../support/identities.ts';

const ID = 'spiffe://mesh.local/ns/shop/sa/orders';
let authority: TestAuthority;
beforeAll(async () => {
  authority = await testAuthority();
});
afterAll(() => authority.close());

test('it is asked for once for each set of Services, and not for what is there', async () => {
  const bare = (await authority.issue('orders')).chainPem;
  const named = (await oddIdentity([ID], 60_000, { dnsNames: certificateNames(['shop/orders']) })).identity.chainPem;
  const names = new ServedNames();
  expect(names.areMissing(bare, [])).toBe(false);
  expect(names.areMissing(bare, ['shop/orders'])).toBe(true);
  expect(names.areMissing(bare, ['shop/orders'])).toBe(false);
  expect(names.areMissing(named, ['shop/orders'])).toBe(false);
  expect(names.areMissing(named, ['shop/catalog', 'shop/orders'])).toBe(true);
  expect(names.areMissing(named, ['shop/orders', 'shop/catalog'])).toBe(false);
});

test('more Services than a certificate names are no reason to ask', async () => {
  const services = Array.from(
    { length: CERTIFICATE_SERVICES_MAX + 1 },
    (_, i) => `shop/s${String(i).padStart(3, '0')}`,
  );
  const dnsNames = certificateNames(services);
  expect(dnsNames).toHaveLength(3 * CERTIFICATE_SERVICES_MAX);
  const { identity } = await oddIdentity([ID], 60_000, { dnsNames });
  expect(new ServedNames().areMissing(identity.chainPem, services.reverse())).toBe(false);
});
