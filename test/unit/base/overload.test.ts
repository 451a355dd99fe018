// The overload ladder: which rung holds at which share of the limit, who is ended, and that it comes down again.

import { expect, test } from 'vitest';
import { HeldBytes, HeldChunks, threadHeld } from '../../../sidecar/base/held.ts';
import { defaultLimit, overloadLimits } from '../../../sidecar/base/memory-limit.ts';
import { Overload, RUNG } from '../../../sidecar/base/overload.ts';

const MIB = 1024 * 1024;

interface Ended {
  readonly name: string;
  readonly heldBytes: number;
  destroy(): void;
}

function ladder(heldBytesMax = 1000) {
  const held = new HeldBytes();
  const holders = new Set<Ended>();
  const ended: string[] = [];
  let nowMs = 0;
  let heapBytes = 0;
  let pressures = 0;
  const overload = new Overload<Ended>(
    { heldBytesMax, heapBytesMax: 1000 },
    {
      clock: { nowMs: () => nowMs },
      held,
      heapBytes: () => heapBytes,
      holders: () => holders,
      onShed: ({ name }) => ended.push(name),
      onPressure: () => pressures++,
    },
  );
  return {
    overload,
    held,
    ended,
    pressures: () => pressures,
    hold(name: string, heldBytes: number) {
      const holder = {
        name,
        heldBytes,
        destroy() {
          holders.delete(holder);
          held.add(-heldBytes);
        },
      };
      holders.add(holder);
      held.add(heldBytes);
    },
    heap(bytes: number, afterMs: number) {
      heapBytes = bytes;
      nowMs += afterMs;
    },
  };
}

/** Until what was set for the end of this turn, and of the next, has run. */
async function turns(): Promise<void> {
  for (let i = 0; i < 3; i++) await new Promise((resolve) => setImmediate(resolve));
}

test.each([
  [799, RUNG.none],
  [800, RUNG.stopKeepAlive],
  [899, RUNG.stopKeepAlive],
  [900, RUNG.refuseStreams],
  [950, RUNG.refuseConnections],
  [980, RUNG.shedLargest],
])('%i of 1000 bytes held is rung %i', (bytes, rung) => {
  const { overload, held } = ladder();
  held.add(bytes);
  expect(overload.rung).toBe(rung);
  held.add(-bytes);
  expect(overload.rung).toBe(RUNG.none);
});

test('the heap is looked at every 100 ms, and garbage alone ends nobody', () => {
  const { overload, heap } = ladder();
  expect(overload.rung).toBe(RUNG.none);
  heap(850, 99);
  expect(overload.rung).toBe(RUNG.none);
  heap(850, 1);
  expect(overload.rung).toBe(RUNG.stopKeepAlive);
  heap(2000, 100);
  expect(overload.rung).toBe(RUNG.refuseConnections);
});

test('the largest are ended, in this order, until the third rung is left', async () => {
  const { overload, ended, hold } = ladder();
  hold('small', 40);
  hold('large', 500);
  hold('idle', 0);
  hold('medium', 460);
  expect(ended).toEqual([]);
  await turns();
  expect(ended).toEqual(['large']);
  expect(overload.rung).toBe(RUNG.none);
});

test('whoever holds nothing is never ended', async () => {
  const { held, ended, hold } = ladder();
  hold('idle', 0);
  held.add(5000);
  await turns();
  expect(ended).toEqual([]);
});

test('each climb is answered once, and a second one again', async () => {
  const { overload, held, ended, hold, pressures } = ladder();
  held.add(801);
  held.add(10);
  await turns();
  expect(pressures()).toBe(1);
  held.add(-811);
  expect(overload.rung).toBe(RUNG.none);
  hold('large', 990);
  await turns();
  expect([pressures(), ended]).toEqual([2, ['large']]);
});

test('a body that is collected counts until it is taken or dropped', () => {
  const before = threadHeld.bytes;
  const body = new HeldChunks();
  body.push(Buffer.from('ab'));
  body.push(Buffer.from('c'));
  expect(threadHeld.bytes - before).toBe(3);
  expect(Buffer.from(body.take()).toString()).toBe('abc');
  expect([threadHeld.bytes - before, body.bytes]).toEqual([0, 0]);
  body.push(Buffer.from('d'));
  body.drop();
  body.drop();
  expect(threadHeld.bytes - before).toBe(0);
});

test.each([
  ['no container', 0, 16 * 1024 * MIB, 1024 * MIB],
  ['a container without a limit', 16 * 1024 * MIB, 16 * 1024 * MIB, 1024 * MIB],
  ['a limit above what a sidecar needs', 8 * 1024 * MIB, 16 * 1024 * MIB, 1024 * MIB],
  ['a small container', 256 * MIB, 16 * 1024 * MIB, 256 * MIB],
])('%s', (_case, constrained, machine, limit) => {
  expect(defaultLimit(constrained, machine)).toBe(limit);
});

test('workers share the limit, and one near what the program takes still leaves some', () => {
  expect(overloadLimits(1024 * MIB, 2)).toEqual({ heldBytesMax: 128 * MIB, heapBytesMax: 462 * MIB });
  expect(overloadLimits(128 * MIB, 1)).toEqual({ heldBytesMax: 32 * MIB, heapBytesMax: 32 * MIB });
});
