// Durations mean the same to whoever writes and whoever reads them.

import { describe, expect, test } from 'vitest';
import { formatDuration, parseDuration, spellDuration } from '../../../proto/kit/duration.ts';

test.each([
  ['0s', 0],
  ['15s', 15_000],
  ['1.5s', 1_500],
  ['250ms', 250],
  ['1h30m', 5_400_000],
  ['1d', 86_400_000],
  ['0.000000001s', 0.000001],
  ['1m500ms', 60_500],
  ['0.1s', 100],
])('%s is %d ms', (text, ms) => {
  expect(parseDuration(text)).toEqual({ ms, error: null });
});

test.each([
  '',
  '15',
  's',
  '-1s',
  '+1s',
  '1 s',
  '1s ',
  '1e3s',
  '.5s',
  '1.s',
  '1s1s',
  '1s1m',
  '1.0000000001s',
  '5us',
  '1S',
  '1'.repeat(80),
])('%j is refused with a way out', (text) => {
  expect(parseDuration(text).error).toContain('such as 250ms');
});

test('a year is the longest', () => {
  expect(parseDuration('365d').ms).toBe(31_536_000_000);
  expect(parseDuration('366d').error).toContain('longer than');
});

describe('formatDuration', () => {
  test.each([
    [0, '0s'],
    [1_500, '1.5s'],
    [250, '0.25s'],
    [15_000, '15s'],
    [0.000001, '0.000000001s'],
    [999.9999999, '1s'],
  ])('%d ms is %s', (ms, text) => {
    expect(formatDuration(ms)).toBe(text);
    expect(Math.abs((parseDuration(text).ms as number) - ms)).toBeLessThan(1e-6);
  });
});

describe('spellDuration', () => {
  test.each([
    [0, '0ms'],
    [250, '250ms'],
    [1_500, '1s500ms'],
    [30_000, '30s'],
    [5_400_000, '1h30m'],
    [86_400_000, '24h'],
  ])('%d ms is %s', (ms, text) => {
    expect(spellDuration(ms)).toBe(text);
    expect(parseDuration(text).ms).toBe(ms);
  });
});
