// What is said of a registration that is refused, taken, or cut off.
import { expect, test } from 'vitest';
import { RegistrationReport } from '../../../sidecar/config/registration.ts';

const REASON = 'orders.default may not serve "nosuch" (PERMISSION_DENIED)';

function report() {
  const lines: string[] = [];
  const log = (level: string) => (first: unknown, text?: string) => void lines.push(`${level} ${text ?? first}`);
  let now = 0;
  const parts = { info: log('info'), warn: log('warn'), error: log('error') };
  const state = new RegistrationReport(
    parts as unknown as ConstructorParameters<typeof RegistrationReport>[0],
    () => now,
  );
  const at = (ms: number) => {
    now = ms;
  };
  return { lines, state, at };
}

test('a refusal is said at once with its fix, again after a minute, and not in between', () => {
  const { lines, state, at } = report();
  state.onFailed(REASON, 500, true);
  expect(lines).toEqual([
    expect.stringMatching(/^error registration refused.*may not serve "nosuch".*serviceAccounts/),
  ]);
  expect(state).toMatchObject({ registered: false, refused: REASON });
  at(59_999);
  state.onFailed(REASON, 500, true);
  expect(lines).toHaveLength(1);
  at(60_000);
  state.onFailed(REASON, 500, true);
  expect(lines).toHaveLength(2);
});

test('another reason is said at once, and so is the same one after it was taken', () => {
  const { lines, state } = report();
  state.onFailed(REASON, 500, true);
  state.onFailed('Service default/orders has no port 9 (INVALID_ARGUMENT)', 500, true);
  expect(lines).toHaveLength(2);
  state.onRegistered(['default/orders/a']);
  expect(state).toMatchObject({ registered: true, refused: '' });
  state.onFailed('Service default/orders has no port 9 (INVALID_ARGUMENT)', 500, true);
  expect(lines).toHaveLength(4);
});

test('a lost control plane changes nothing of what it said', () => {
  const { lines, state } = report();
  state.onFailed('gone (UNAVAILABLE)', 500, false);
  expect(state.refused).toBe('');
  state.onFailed(REASON, 500, true);
  state.onFailed('gone (UNAVAILABLE)', 500, false);
  expect(state.refused).toBe(REASON);
  expect(lines.filter((line) => line.startsWith('warn not registered: gone'))).toHaveLength(2);
});
