// Strangers who knock cost a line a minute, and no more.
import { expect, test } from 'vitest';
import { TimerWheel } from '../../../sidecar/base/timer-wheel.ts';
import { RefusalLog } from '../../../sidecar/listen/refusal-log.ts';

function refusals() {
  let nowMs = 0;
  const wheel = new TimerWheel({ nowMs: () => nowMs }, { set() {} });
  const lines: string[] = [];
  const log = new RefusalLog(wheel, ({ reason, count, peer }) => lines.push(`${reason} ${count} ${peer}`));
  const pass = (ms: number): void => {
    nowMs += ms;
    wheel.advance();
  };
  return { log, lines, pass, wheel };
}

test('the first of a reason is told at once, the rest once a minute with their number', () => {
  const { log, lines, pass, wheel } = refusals();
  for (let i = 0; i < 100; i++) log.note('untrusted', `10.0.0.${i}`);
  log.note('noCertificate', '10.0.1.1');
  expect(lines).toEqual(['untrusted 1 10.0.0.0', 'noCertificate 1 10.0.1.1']);
  pass(59_000);
  expect(lines).toHaveLength(2);
  pass(1_100);
  expect(lines.slice(2)).toEqual(['untrusted 99 10.0.0.99']);
  log.note('untrusted', '10.0.0.7');
  expect(lines).toHaveLength(3);
  pass(60_100);
  expect(lines.slice(3)).toEqual(['untrusted 1 10.0.0.7']);
  pass(60_100);
  expect(wheel.armedCount).toBe(0);
  log.note('untrusted', '10.0.0.8');
  expect(lines.slice(4)).toEqual(['untrusted 1 10.0.0.8']);
});

test('who leaves in mid-handshake is counted, and not told', () => {
  const { log, lines, wheel } = refusals();
  log.note('closed', '10.0.0.1');
  expect([lines, wheel.armedCount]).toEqual([[], 0]);
});
