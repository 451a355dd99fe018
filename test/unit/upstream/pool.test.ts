// The pool over scripted connections: reuse, growth by need, bounds, and requests that give up.
import { expect, test } from 'vitest';
import { type Alarm, TimerWheel } from '../../../sidecar/base/timer-wheel.ts';
import { type ConnectionObserver, Pool, type StreamRequester } from '../../../sidecar/upstream/pool.ts';
import { ProxyError } from '../../../sidecar/wire/error.ts';
import type { HttpStream } from '../../../sidecar/wire/stream.ts';

const STREAM = {} as HttpStream;

const NEVER: Alarm = { set() {} };
const BOUNDS = { connectionsMax: 4, pendingRequestsMax: 8, idleTimeoutMs: 0 };

function setUp(slots: number, bounds: Partial<typeof BOUNDS> = {}) {
  const limits = { ...BOUNDS, requestsPerConnection: slots, ...bounds };
  let nowMs = 0;
  const clock = { nowMs: () => nowMs };
  const wheel = new TimerWheel(clock, NEVER);
  const pass = (ms: number): void => {
    nowMs += ms;
    wheel.advance();
  };
  const dials: ConnectionObserver[] = [];
  const closed: number[] = [];
  const pool = new Pool(
    (observer) => {
      dials.push(observer);
      return () => closed.push(-1);
    },
    limits,
    { clock, wheel },
  );
  const ready = (number: number) => {
    const connection = {
      activeStreams: 0,
      get hasRoom(): boolean {
        return connection.activeStreams < slots;
      },
      open(): HttpStream {
        connection.activeStreams++;
        return STREAM;
      },
      close: () => void closed.push(number),
    };
    dials[number]?.onReady(connection);
    return connection;
  };
  return { pool, dials, closed, ready, pass };
}

function requester(log: string[], name: string): StreamRequester {
  return {
    onStream: (_stream, reused) => log.push(`${name} ${reused ? 'reused' : 'fresh'}`),
    onOpenFailed: (error) => log.push(`${name} ${error.kind}`),
    onHead() {},
    onData() {},
    onEnd() {},
    onDrain() {},
    onReset() {},
  };
}

const turn = () => Promise.resolve();

test('one connection serves one request at a time and is used again', async () => {
  const { pool, dials, ready } = setUp(1);
  const log: string[] = [];
  pool.request(requester(log, 'a'));
  expect(log).toEqual([]);
  await turn();
  expect(dials).toHaveLength(1);
  const connection = ready(0);
  await turn();
  connection.activeStreams = 0;
  pool.request(requester(log, 'b'));
  await turn();
  expect(log).toEqual(['a fresh', 'b reused']);
  expect(dials).toHaveLength(1);
});

test('a connection with many streams is dialled once for all who wait', async () => {
  const { pool, dials, ready } = setUp(100);
  const log: string[] = [];
  for (const name of ['a', 'b', 'c']) pool.request(requester(log, name));
  await turn();
  expect(dials).toHaveLength(1);
  ready(0);
  await turn();
  expect(log).toEqual(['a fresh', 'b reused', 'c reused']);
  expect(pool.activeStreams).toBe(3);
});

test('grows by need up to its bound, and refuses what would wait too long', async () => {
  const { pool, dials } = setUp(1, { connectionsMax: 2, pendingRequestsMax: 3 });
  const log: string[] = [];
  const taken = ['a', 'b', 'c', 'd'].map((name) => pool.request(requester(log, name)));
  await turn();
  expect(taken).toEqual([true, true, true, false]);
  expect(dials).toHaveLength(2);
});

test('a failed dial fails those who wait', async () => {
  const { pool, dials } = setUp(1);
  const log: string[] = [];
  pool.request(requester(log, 'a'));
  await turn();
  dials[0]?.onGone(new ProxyError('connectFailed', 'upstream', 'refused', 'yes'));
  expect(log).toEqual(['a connectFailed']);
  expect(pool.connections).toBe(0);
});

test('a lost connection is replaced for those who wait', async () => {
  const { pool, dials, ready } = setUp(1, { connectionsMax: 1, pendingRequestsMax: 8 });
  const log: string[] = [];
  pool.request(requester(log, 'a'));
  await turn();
  ready(0);
  await turn();
  pool.request(requester(log, 'b'));
  await turn();
  dials[0]?.onGone(null);
  await turn();
  expect(dials).toHaveLength(2);
  ready(1);
  await turn();
  expect(log).toEqual(['a fresh', 'b fresh']);
});

test('who gives up while waiting hears nothing', async () => {
  const { pool, ready } = setUp(1);
  const log: string[] = [];
  const early = requester(log, 'a');
  pool.request(early);
  await turn();
  expect(pool.cancel(early)).toBe(true);
  expect(pool.cancel(early)).toBe(false);
  ready(0);
  await turn();
  expect(log).toEqual([]);
  expect(pool.pendingRequests).toBe(0);
});

test('closing fails those who wait, abandons dials, and refuses the next', async () => {
  const { pool, closed } = setUp(1);
  const log: string[] = [];
  pool.request(requester(log, 'a'));
  await turn();
  pool.close();
  expect(log).toEqual(['a unavailable']);
  expect(closed).toEqual([-1]);
  expect(pool.request(requester(log, 'b'))).toBe(false);
});

test('a connection without a stream is closed after the idle time, one that was used since is not', async () => {
  const { pool, dials, closed, ready, pass } = setUp(1, { idleTimeoutMs: 1000 });
  pool.request(requester([], 'a'));
  await Promise.resolve();
  const connection = ready(0);
  await Promise.resolve();
  pass(1500);
  expect(closed).toEqual([]); // A stream is under way.
  connection.activeStreams = 0;
  dials[0]?.onRoom();
  pass(600);
  dials[0]?.onRoom(); // Another one ended here.
  pass(900);
  expect(closed).toEqual([]);
  pass(200);
  expect(closed).toEqual([0]);
});
