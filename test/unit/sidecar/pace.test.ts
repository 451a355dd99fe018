// Who is too slow: looks at even times, with figures from the test.

import { expect, test } from 'vitest';
import { Pace } from '../../../sidecar/listen/pace.ts';

function connection() {
  const seen: string[] = [];
  const state = { slowBodies: 0, stalled: 0, unreadBytes: 0, takenBytes: 0 };
  const pace = new Pace({
    pace: () => state.slowBodies,
    dropStalled: (bytesMin, looks) => (bytesMin === 2_400 && looks === 30 ? state.stalled : 0),
    get unreadBytes() {
      return state.unreadBytes;
    },
    get takenBytes() {
      return state.takenBytes;
    },
    destroy: () => seen.push('destroyed'),
  });
  const look = (times = 1, takenBytes = 0): void => {
    for (let i = 0; i < times; i++) {
      state.takenBytes += takenBytes;
      pace.look((name) => seen.push(name));
    }
  };
  return { seen, state, look };
}

test('each slow body and each answer without a window for five minutes is counted', () => {
  const { seen, state, look } = connection();
  look();
  state.slowBodies = 2;
  state.stalled = 2;
  look();
  expect(seen).toEqual(['slowBody', 'slowBody', 'zeroWindow', 'zeroWindow']);
});

test('a reader that takes less than 240 bytes a second is ended after five minutes', () => {
  const { seen, state, look } = connection();
  state.unreadBytes = 1;
  look(29, 2_399);
  expect(seen).toEqual([]);
  look(1, 2_399);
  expect(seen).toEqual(['slowRead', 'destroyed']);
});

test('one that takes enough now and then, or for which there is nothing, is left alone', () => {
  const { seen, state, look } = connection();
  state.unreadBytes = 1;
  look(29);
  look(1, 2_400);
  look(29);
  state.unreadBytes = 0;
  look(100);
  expect(seen).toEqual([]);
});
