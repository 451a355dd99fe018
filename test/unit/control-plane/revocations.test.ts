// The store of revocations: what it takes, how long it keeps it, and that it forgets nothing over a restart.
import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import {
  parseSerial,
  REASON_MAX,
  REVOCATIONS_MAX,
  RevocationStore,
  SERIAL_KEPT_MS_MIN,
} from '../../../control-plane/identity/revocations.ts';

let dataDir: string;
let nowMs: number;

beforeEach(() => {
  dataDir = mkdtempSync(join(tmpdir(), 'weft-revocations-'));
  nowMs = 1_700_000_000_000;
});
afterEach(() => rmSync(dataDir, { recursive: true }));

const open = (certificateTtlMs = 3_600_000): RevocationStore =>
  new RevocationStore({ dataDir, trustDomain: 'mesh.test', now: () => nowMs, certificateTtlMs });
const ORDERS = { serial: '', spiffeId: 'spiffe://mesh.test/ns/shop/sa/orders' };
const serial = (text: string) => ({ serial: text, spiffeId: '' });

test.each([
  ['0a', '0A'],
  ['A', '0A'],
  ['00:0a:Ff', '0AFF'],
  ['0', '00'],
  ['F'.repeat(40), 'F'.repeat(40)],
  ['F'.repeat(41), null],
  ['', null],
  ['xyz', null],
  ['0x0A', null],
])('the serial number %j is %j', (text, expected) => expect(parseSerial(text)).toBe(expected));

test('both kinds are refused with the reason, kept over a restart in a private file, and lifted', () => {
  const store = open();
  expect(store.revoke(ORDERS, 'left the company').ok).toBe(true);
  expect(store.revoke(serial('0a:0b'), '').ok).toBe(true);
  expect(statSync(join(dataDir, 'revocations.json')).mode & 0o777).toBe(0o600);
  for (const one of [store, open()]) {
    expect(one.refusal({ ...ORDERS, serial: '77' })).toBe(
      `${ORDERS.spiffeId} is revoked (left the company); \`weft revoke --lift --service-account NAME\` lifts that`,
    );
    expect(one.refusal({ serial: '0A0B', spiffeId: 'spiffe://mesh.test/ns/shop/sa/web' })).toContain(
      'certificate 0A0B of spiffe://mesh.test/ns/shop/sa/web is revoked;',
    );
    expect(one.refusal({ serial: '0A0C', spiffeId: 'spiffe://mesh.test/ns/shop/sa/web' })).toBeNull();
    expect(one.refusal({ serial: '', spiffeId: 'spiffe://mesh.test/ns/shop/sa/web' })).toBeNull();
  }
  expect(store.list().map(({ serial, spiffeId }) => serial || spiffeId)).toEqual(['0A0B', ORDERS.spiffeId]);
  expect(store.lift(ORDERS).ok).toBe(true);
  expect(open().refusal({ ...ORDERS, serial: '' })).toBeNull();
  expect(store.lift(ORDERS)).toMatchObject({ ok: false, error: expect.stringContaining('is not revoked') });
});

test('a serial number is kept as long as its certificate can live, an account until it is lifted', () => {
  const store = open();
  store.revoke(serial('0A'), '');
  store.revoke(ORDERS, '');
  nowMs += SERIAL_KEPT_MS_MIN - 1;
  expect(store.list()).toHaveLength(2);
  nowMs += 1;
  expect(store.list()).toMatchObject([ORDERS]);
  const long = open(SERIAL_KEPT_MS_MIN * 2);
  long.revoke(serial('0B'), '');
  nowMs += SERIAL_KEPT_MS_MIN;
  expect(long.list()).toHaveLength(2);
});

test.each([
  [{ serial: '', spiffeId: '' }, '', 'name one certificate or one service account'],
  [{ ...ORDERS, serial: '0A' }, '', 'name one certificate or one service account'],
  [serial('zz'), '', 'is no serial number'],
  [{ serial: '', spiffeId: 'spiffe://else.test/ns/a/sa/b' }, '', 'is not of this trust domain, mesh.test'],
  [
    { serial: '', spiffeId: 'spiffe://mesh.test/ns/weft-system/sa/control-plane' },
    '',
    "the control plane's own identity",
  ],
  [{ serial: '', spiffeId: 'orders' }, '', 'does not start with'],
  [ORDERS, 'x'.repeat(REASON_MAX + 1), `at most ${REASON_MAX} characters`],
])('%j is refused: %s', (subject, reason, error) => {
  expect(open().revoke(subject, reason)).toMatchObject({ ok: false, error: expect.stringContaining(error) });
});

test('there is a most of them, and one that is known may be said again', () => {
  const revocations = Array.from({ length: REVOCATIONS_MAX }, (_, i) => ({
    ...serial(parseSerial((i + 1).toString(16)) ?? ''),
    revokedAtMs: nowMs,
    expiresAtMs: 0,
    reason: '',
  }));
  writeFileSync(join(dataDir, 'revocations.json'), JSON.stringify({ version: 1, revocations }), { mode: 0o600 });
  const store = open();
  expect(store.revoke(ORDERS, '')).toMatchObject({ ok: false, error: expect.stringContaining('revoked already') });
  expect(store.revoke(serial('1'), 'again').ok).toBe(true);
});

test.each(['{', '{"version":2,"revocations":[]}', '{"version":1,"revocations":[{"serial":"0A"}]}'])(
  'a damaged file (%s) ends the start and stays: forgotten revocations would let in',
  (text) => {
    const path = join(dataDir, 'revocations.json');
    writeFileSync(path, text, { mode: 0o600 });
    expect(open).toThrow('restore it from a backup');
    expect(readFileSync(path, 'utf8')).toBe(text);
    chmodSync(path, 0o644);
    expect(open).toThrow('chmod 600');
  },
);
