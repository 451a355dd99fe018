// Which address is dialled when, and who is closed: sockets that the test makes answer, and time that it moves.
import { Socket } from 'node:net';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { LIMITS } from '../../../sidecar/base/limits.ts';
import { Race } from '../../../sidecar/upstream/race.ts';

const [A, B, C] = ['2001:db8::1', '192.0.2.1', '2001:db8::2'];
const DELAY_MS = LIMITS.nextAddressMs;

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  // Whatever happened: nothing is left to ring.
  expect(vi.getTimerCount()).toBe(0);
  vi.useRealTimers();
});

function run(hosts: readonly string[]) {
  const dialled: string[] = [];
  const sockets: Socket[] = [];
  const outcome: string[] = [];
  const dial = (host: string): Socket => {
    dialled.push(host);
    const socket = new Socket();
    sockets.push(socket);
    return socket;
  };
  const race = new Race(hosts, dial, {
    onConnected: (socket, host) => outcome.push(`${host} by socket ${sockets.indexOf(socket)}`),
    onFailed: ({ message, errors }) => outcome.push(`${errors.length} failed: ${message}`),
  });
  const at = (host: string): Socket => sockets[dialled.indexOf(host)] as Socket;
  return {
    race,
    dialled,
    outcome,
    answer: (host: string) => at(host).emit('connect'),
    refuse: (host: string) => at(host).emit('error', new Error(`connect ECONNREFUSED ${host}`)),
    listeners: (host: string) => at(host).listenerCount('error'),
    open: () => dialled.filter((host) => !at(host).destroyed),
  };
}

test('a refused address gives way to the next at once', () => {
  const { dialled, refuse, answer, outcome } = run([A, B]);
  expect(dialled).toEqual([A]);
  refuse(A);
  expect(dialled).toEqual([A, B]);
  answer(B);
  expect(outcome).toEqual([`${B} by socket 1`]);
});

test('a silent one gets company after the delay of RFC 8305 §5, and each that joins another', () => {
  const { dialled, open, race } = run([A, B, C]);
  vi.advanceTimersByTime(DELAY_MS - 1);
  expect(dialled).toEqual([A]);
  vi.advanceTimersByTime(1);
  expect(dialled).toEqual([A, B]);
  vi.advanceTimersByTime(DELAY_MS - 1);
  expect(dialled).toEqual([A, B]);
  vi.advanceTimersByTime(1);
  expect(dialled).toEqual([A, B, C]);
  expect(open()).toEqual([A, B, C]);
  race.close();
});

test('the first may still win, and the others are closed', () => {
  const { answer, open, outcome } = run([A, B, C]);
  vi.advanceTimersByTime(2 * DELAY_MS);
  answer(A);
  expect(outcome).toEqual([`${A} by socket 0`]);
  expect(open()).toEqual([A]);
});

test('the winner is handed over with no listener of the race on it, and who answers later is nothing', () => {
  const { answer, refuse, listeners, outcome } = run([A, B]);
  vi.advanceTimersByTime(DELAY_MS);
  answer(B);
  answer(A);
  refuse(A);
  expect(outcome).toEqual([`${B} by socket 1`]);
  expect(listeners(B)).toBe(0);
});

test('who fails after the end dials nobody', () => {
  const { answer, refuse, dialled, outcome } = run([A, B, C]);
  vi.advanceTimersByTime(DELAY_MS);
  answer(A);
  refuse(B);
  expect(dialled).toEqual([A, B]);
  expect(outcome).toEqual([`${A} by socket 0`]);
});

test('who wins at once leaves the others undialled', () => {
  const { answer, dialled, outcome } = run([A, B]);
  answer(A);
  vi.advanceTimersByTime(DELAY_MS);
  expect(dialled).toEqual([A]);
  expect(outcome).toEqual([`${A} by socket 0`]);
});

test('the delay begins anew with each attempt', () => {
  const { dialled, refuse, race } = run([A, B, C]);
  vi.advanceTimersByTime(DELAY_MS - 1);
  refuse(A);
  vi.advanceTimersByTime(DELAY_MS - 1);
  expect(dialled).toEqual([A, B]);
  vi.advanceTimersByTime(1);
  expect(dialled).toEqual([A, B, C]);
  race.close();
});

test('an older one that is refused does not hurry the newest', () => {
  const { dialled, refuse, race } = run([A, B, C]);
  vi.advanceTimersByTime(DELAY_MS);
  refuse(A);
  expect(dialled).toEqual([A, B]);
  vi.advanceTimersByTime(DELAY_MS);
  expect(dialled).toEqual([A, B, C]);
  race.close();
});

test('when all fail, each says why, in the order of the attempts', () => {
  const { refuse, outcome, open } = run([A, B]);
  vi.advanceTimersByTime(DELAY_MS);
  refuse(B);
  expect(outcome).toEqual([]);
  refuse(A);
  expect(outcome).toEqual([`2 failed: connect ECONNREFUSED ${A}; connect ECONNREFUSED ${B}`]);
  expect(open()).toEqual([]);
});

test('a report names who failed and who is silent, and nobody who was not dialled', () => {
  const { race, refuse } = run([A, B, C]);
  refuse(A);
  expect(race.report()).toBe(`connect ECONNREFUSED ${A}; ${B} did not answer`);
  race.close();
});

test('a race that nobody waits for dials no more, says nothing and leaves nothing open', () => {
  const { race, dialled, open, outcome, answer } = run([A, B, C]);
  vi.advanceTimersByTime(DELAY_MS);
  race.close();
  vi.advanceTimersByTime(DELAY_MS);
  answer(A);
  expect(dialled).toEqual([A, B]);
  expect(open()).toEqual([]);
  expect(outcome).toEqual([]);
});

test('a long list is tried up to its bound', () => {
  const hosts = Array.from({ length: LIMITS.raceAddressesMax + 2 }, (_, i) => `192.0.2.${i}`);
  const { dialled, refuse, outcome } = run(hosts);
  for (const host of hosts.slice(0, LIMITS.raceAddressesMax)) refuse(host);
  expect(dialled).toEqual(hosts.slice(0, LIMITS.raceAddressesMax));
  expect(outcome[0]).toMatch(new RegExp(`^${LIMITS.raceAddressesMax} failed: `));
});
