// Records on their way to main: few of them together, many without waiting, none without a trace.

import { expect, test } from 'vitest';
import { LIMITS } from '../../../sidecar/base/limits.ts';
import type { FromWorker, TelemetryRecord } from '../../../sidecar/base/messages.ts';
import { type Alarm, TimerWheel } from '../../../sidecar/base/timer-wheel.ts';
import { TelemetryBuffer } from '../../../sidecar/telemetry/worker-buffer.ts';

/** Whatever waits for the end of the turn is done. */
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

const record = {} as TelemetryRecord;

/** A buffer under a clock that only moves by hand, and the sizes of what it sent: records, then dropped ones. */
function setUp() {
  let nowMs = 0;
  let ring = (): void => {};
  const alarm: Alarm = {
    set(_delayMs, callback) {
      ring = callback;
    },
  };
  const wheel = new TimerWheel({ nowMs: () => nowMs }, alarm);
  const sent: [number, number][] = [];
  const post = (message: FromWorker): void => {
    if (message.type === 'telemetry') sent.push([message.records.length, message.dropped]);
  };
  const buffer = new TelemetryBuffer(wheel, post);
  const add = (count: number): void => {
    for (let i = 0; i < count; i++) buffer.add(record);
  };
  const pass = (ms: number): void => {
    nowMs += ms;
    ring();
  };
  return { buffer, sent, add, pass };
}

test('a few records leave together, a tenth of a second after the first', async () => {
  const { sent, add, pass } = setUp();
  add(1);
  pass(60);
  add(2);
  await turn();
  expect(sent).toEqual([]);
  pass(60);
  expect(sent).toEqual([[3, 0]]);
});

test('many leave at the end of the turn, and what is too much for one message is counted', async () => {
  const { sent, add } = setUp();
  add(LIMITS.telemetryRecordsMax / 4);
  await turn();
  add(LIMITS.telemetryRecordsMax + 7);
  await turn();
  expect(sent).toEqual([
    [LIMITS.telemetryRecordsMax / 4, 0],
    [LIMITS.telemetryRecordsMax, 7],
  ]);
});

test('what waits leaves with the worker', () => {
  const { buffer, sent, add } = setUp();
  add(3);
  buffer.flush();
  buffer.flush();
  expect(sent).toEqual([[3, 0]]);
});
