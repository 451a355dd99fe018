// Fuzz targets run long enough where it counts.
import { expect, test } from 'vitest';
import { fuzzSeconds } from '../../support/fuzz.ts';

test.each([
  [{}, 2],
  [{ CI: '' }, 2],
  [{ CI: 'true' }, 20],
  [{ CI: '1', WEFT_FUZZ_SECONDS: '' }, 20],
  [{ CI: '1', WEFT_FUZZ_SECONDS: '0.5' }, 0.5],
  [{ WEFT_FUZZ_SECONDS: '60' }, 60],
])('%j: %d s a target', (environment, seconds) => {
  expect(fuzzSeconds(environment)).toBe(seconds);
});

test.each(['0', '-1', 'long', 'Infinity'])('WEFT_FUZZ_SECONDS=%s is refused', (written) => {
  expect(() => fuzzSeconds({ WEFT_FUZZ_SECONDS: written })).toThrow('write a number of seconds above 0');
});
