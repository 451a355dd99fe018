// What a control plane promises to who says nothing, in numbers: a change of one is a change of the product.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { CERTIFICATE_TTL_MS } from '../../../control-plane/identity/authority.ts';
import { TokenStore } from '../../../control-plane/identity/tokens.ts';
import { CONTROL_PLANE_OPTIONS } from '../../../control-plane/options.ts';
import { readOptions } from '../../../proto/kit/options.ts';

test('options that are not given', () => {
  expect(readOptions('control-plane', CONTROL_PLANE_OPTIONS, [], {})).toMatchObject({
    kind: 'values',
    values: {
      trustDomain: 'mesh.local',
      host: '0.0.0.0',
      grpcPort: 15012,
      plaintextPort: -1,
      apiHost: '127.0.0.1',
      apiPort: 15016,
      metricsPort: 15014,
      certificateTtl: 86_400_000,
      registrationGrace: 30_000,
    },
  });
  expect(CERTIFICATE_TTL_MS).toBe(86_400_000);
});

test('a join token lives an hour', () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'weft-defaults-'));
  onTestFinished(() => rmSync(dataDir, { recursive: true, force: true }));
  const now = (): number => 1_800_000_000_000;
  const store = new TokenStore({ dataDir, trustDomain: 'td', rootKeyHash: new Uint8Array(32), now });
  expect(store.issue('shop', 'orders')).toMatchObject({ ok: true, token: { expiresAtMs: now() + 3_600_000 } });
});
