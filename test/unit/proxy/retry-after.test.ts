// What Retry-After is understood to say (RFC 9110 §10.2.3, §5.6.7).
import { expect, test } from 'vitest';
import { retryAfterMs } from '../../../sidecar/proxy/retry-after.ts';

const NOW = Date.UTC(2026, 0, 2, 3, 4, 5);

test.each([
  [undefined, 0],
  ['0', 0],
  ['3', 3_000],
  ['120', 120_000],
  ['9999999999', 9_999_999_999_000],
  ['99999999999', 0],
  ['-1', 0],
  ['1.5', 0],
  ['1, 2', 0],
  ['', 0],
  ['soon', 0],
  ['Fri, 02 Jan 2026 03:04:07 GMT', 2_000],
  ['Fri, 02 Jan 2026 03:04:05 GMT', 0],
  ['Fri, 02 Jan 2026 03:04:04 GMT', 0],
  ['Fri, 02 Foo 2026 03:04:07 GMT', 0],
  // Obsolete forms, and dates that only JavaScript knows.
  ['Friday, 02-Jan-26 03:04:07 GMT', 0],
  ['Fri Jan  2 03:04:07 2026', 0],
  ['2026-01-02T03:04:07Z', 0],
])('%s is %d ms', (value, expected) => {
  expect(retryAfterMs(value, NOW)).toBe(expected);
});
