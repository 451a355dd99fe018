// Counters across workers: columns add up, die without going down, and never outgrow their memory.

import { expect, test } from 'vitest';
import { allColumns, counterColumn, createCounterMemory, observe, sumSlot } from '../../../sidecar/base/counters.ts';
import { OVERFLOW_LABELS, SeriesTable } from '../../../sidecar/base/series.ts';

function add(column: Float64Array, slot: number, amount = 1): void {
  column[slot] = (column[slot] as number) + amount;
}

test('columns do not overlap and add up', () => {
  const memory = createCounterMemory(3, 10);
  expect(memory.slots).toBe(16);
  for (const column of [0, 1, 2]) add(counterColumn(memory, column), 9, 10 ** column);
  expect(sumSlot(memory, allColumns(memory), 9)).toBe(111);
  expect(sumSlot(memory, allColumns(memory), 8)).toBe(0);
  expect(() => counterColumn(memory, 3)).toThrow('no such counter column');
});

test('a histogram counts per bucket with its bound included, and sums', () => {
  const memory = createCounterMemory(2, 8);
  const table = new SeriesTable(memory);
  const series = table.acquire(table.register('ms', 'histogram', [1, 10]), 'a', 0);
  for (const value of [0.5, 1, 2, 10]) observe(counterColumn(memory, 0), series.slot, [1, 10], value);
  observe(counterColumn(memory, 1), series.slot, [1, 10], 11);
  expect(table.read(series)).toEqual([2, 2, 1, 24.5]);
});

test('one series per label set; after the maximum they share overflow, shown only when used', () => {
  const memory = createCounterMemory(2, 64);
  const table = new SeriesTable(memory);
  const metric = table.register('requests', 'counter', [], 2);
  const one = table.acquire(metric, 'a', 0);
  expect(table.acquire(metric, 'a', 0)).toBe(one);
  expect(table.acquire(metric, 'b', 0).slot).not.toBe(one.slot);
  const third = table.acquire(metric, 'c', 0);
  expect(third.labels).toBe(OVERFLOW_LABELS);
  expect(table.acquire(metric, 'd', 0)).toBe(third);
  expect(table.seriesOf(metric).map((series) => series.labels)).toEqual(['a', 'b']);
  add(counterColumn(memory, 1), third.slot);
  expect(table.seriesOf(metric).map((series) => series.labels)).toEqual(['a', 'b', OVERFLOW_LABELS]);
});

test('full memory overflows too', () => {
  const table = new SeriesTable(createCounterMemory(1, 8));
  const metric = table.register('requests', 'counter');
  const labels = Array.from({ length: 9 }, (_, i) => table.acquire(metric, `l${i}`, 0).labels);
  expect(labels.filter((label) => label === OVERFLOW_LABELS)).toHaveLength(2);
  expect(() => table.register('more', 'counter')).toThrow('too small');
});

test('idle series are swept; their slots come back zeroed only after reuse', () => {
  const memory = createCounterMemory(2, 8);
  const table = new SeriesTable(memory, 100);
  const metric = table.register('requests', 'counter');
  const busy = table.acquire(metric, 'busy', 0);
  const idle = table.acquire(metric, 'idle', 0);
  add(counterColumn(memory, 1), idle.slot, 5);
  expect(table.sweep(50)).toEqual([]);
  add(counterColumn(memory, 1), busy.slot);
  expect(table.sweep(149)).toEqual([]);
  expect(table.sweep(150).map((series) => series.labels)).toEqual(['idle']);
  expect(table.acquire(metric, 'next', 150).slot).not.toBe(idle.slot);
  table.reuse([idle]);
  const again = table.acquire(metric, 'again', 150);
  expect(again.slot).toBe(idle.slot);
  expect(table.read(again)).toEqual([0]);
});

test('a gauge above zero is never idle', () => {
  const memory = createCounterMemory(1, 8);
  const table = new SeriesTable(memory, 100);
  const series = table.acquire(table.register('in_flight', 'gauge'), 'a', 0);
  const column = counterColumn(memory, 0);
  add(column, series.slot);
  expect([table.sweep(0), table.sweep(1_000)]).toEqual([[], []]);
  add(column, series.slot, -1);
  expect([table.sweep(1_000).length, table.sweep(1_100).length]).toEqual([0, 1]);
});

test('a dead worker keeps its counts and loses what it had in flight', () => {
  const memory = createCounterMemory(3, 32);
  const table = new SeriesTable(memory);
  const counter = table.acquire(table.register('requests', 'counter'), 'a', 0);
  const gauge = table.acquire(table.register('in_flight', 'gauge'), 'a', 0);
  const histogram = table.acquire(table.register('ms', 'histogram', [1]), 'a', 0);
  for (const column of [1, 2]) {
    add(counterColumn(memory, column), counter.slot, 10);
    add(counterColumn(memory, column), gauge.slot, 3);
    observe(counterColumn(memory, column), histogram.slot, [1], 2);
  }
  table.retire(1);
  expect([table.read(counter), table.read(gauge), table.read(histogram)]).toEqual([[20], [3], [0, 2, 4]]);
  expect(counterColumn(memory, 1).every((number) => number === 0)).toBe(true);
});
