// One row per rule of delta xDS: a script of steps against one subscription, with what it has to send after each.
import { describe, expect, test } from 'vitest';
import {
  type DeltaError,
  type DeltaRequest,
  type DeltaResponse,
  DeltaSubscription,
  SUBSCRIBED_NAMES_MAX,
} from '../../../control-plane/discovery/subscription.ts';

type Versions = Record<string, string>;
interface Ask {
  readonly sub?: string[];
  readonly unsub?: string[];
  readonly have?: Versions;
  readonly nonce?: string;
  readonly error?: DeltaError;
}
/** What happens, then what is sent: "nonce: name=version ... -removed", or null for silence. */
type Step =
  | readonly ['request', Ask, string | null, string]
  | readonly ['update', Versions, string | null]
  | readonly ['resend', string, string | null];

const NACK: DeltaError = { code: 3, message: 'bad cluster' };
const AB = { a: '1', b: '1' };

const ROWS: readonly (readonly [rule: string, start: Versions, ...steps: Step[]])[] = [
  ['subscribe: only the names asked for', AB, ['request', { sub: ['a'] }, '1: a=1', 'initial']],
  [
    'subscribe: names add up, in later requests without a nonce',
    AB,
    ['request', { sub: ['a'] }, '1: a=1', 'initial'],
    ['request', { nonce: '1' }, null, 'ack'],
    ['request', { sub: ['b'] }, '2: b=1', 'update'],
  ],
  ['duplicates: a name asked twice is sent once', AB, ['request', { sub: ['a', 'a', '*'] }, '1: a=1 b=1', 'initial']],
  ['wildcard: legacy empty first request', AB, ['request', {}, '1: a=1 b=1', 'initial']],
  ['wildcard: explicit star', AB, ['request', { sub: ['*'] }, '1: a=1 b=1', 'initial']],
  ['wildcard: an empty world is said once', {}, ['request', {}, '1:', 'initial'], ['update', {}, null]],
  [
    'wildcard: an empty later request is not a wildcard',
    AB,
    ['request', { sub: ['a'] }, '1: a=1', 'initial'],
    ['request', { nonce: '1' }, null, 'ack'],
    ['request', {}, null, 'update'],
    ['update', { a: '1', b: '2' }, null],
  ],
  [
    'wildcard: mixed with a name that does not exist',
    AB,
    ['request', { sub: ['*', 'z'] }, '1: a=1 b=1 -z', 'initial'],
    ['request', { nonce: '1' }, null, 'ack'],
    ['update', { ...AB, z: '1' }, '2: z=1'],
  ],
  [
    'wildcard: leaving it keeps explicit names only',
    AB,
    ['request', { sub: ['*', 'a'] }, '1: a=1 b=1', 'initial'],
    ['request', { nonce: '1', unsub: ['*'] }, null, 'ack'],
    ['update', { a: '2', b: '2' }, '2: a=2'],
  ],
  [
    'wildcard: leaving and coming back sends everything again',
    AB,
    ['request', {}, '1: a=1 b=1', 'initial'],
    ['request', { nonce: '1', unsub: ['*'] }, null, 'ack'],
    ['request', { sub: ['*'] }, '2: a=1 b=1', 'update'],
  ],
  [
    'wildcard: left and entered in one request, a removal meanwhile is still told',
    AB,
    ['request', {}, '1: a=1 b=1', 'initial'],
    ['update', { b: '1' }, null],
    ['request', { sub: ['*'], unsub: ['*'] }, null, 'update'],
    ['request', { nonce: '1' }, '2: -a', 'ack'],
  ],
  [
    'wildcard: entered in the request that drops a name, a removal meanwhile is still told',
    AB,
    ['request', { sub: ['a'] }, '1: a=1', 'initial'],
    ['request', { sub: ['*'], unsub: ['a'] }, null, 'update'],
    ['update', { b: '1' }, null],
    ['request', { nonce: '1' }, '2: b=1 -a', 'ack'],
  ],
  [
    'wildcard: a forced answer is dropped when the wildcard ends before it is sent',
    AB,
    ['request', { sub: ['*', 'a'] }, '1: a=1 b=1', 'initial'],
    ['request', { unsub: ['a'] }, null, 'update'],
    ['request', { unsub: ['*'] }, null, 'update'],
    ['request', { nonce: '1' }, null, 'ack'],
  ],
  [
    'unsubscribe: changes of the name are no longer sent',
    AB,
    ['request', { sub: ['a', 'b'] }, '1: a=1 b=1', 'initial'],
    ['request', { nonce: '1', unsub: ['a'] }, null, 'ack'],
    ['update', { a: '2', b: '1' }, null],
    ['update', { b: '2' }, '2: b=2'],
  ],
  [
    'unsubscribe: answered while the wildcard still covers the name',
    AB,
    ['request', { sub: ['*', 'a', 'z'] }, '1: a=1 b=1 -z', 'initial'],
    ['request', { nonce: '1' }, null, 'ack'],
    ['request', { unsub: ['a', 'z'] }, '2: a=1 -z', 'update'],
  ],
  ['unsubscribe: an unknown name is ignored', AB, ['request', { unsub: ['q'], sub: ['a'] }, '1: a=1', 'initial']],
  [
    'resubscribe: sent even if unchanged',
    AB,
    ['request', { sub: ['a'] }, '1: a=1', 'initial'],
    ['request', { nonce: '1' }, null, 'ack'],
    ['request', { sub: ['a'] }, '2: a=1', 'update'],
    ['request', { nonce: '2', sub: ['a'] }, '3: a=1', 'ack'],
  ],
  [
    'resubscribe: dropped and asked again while a response is outstanding',
    AB,
    ['request', { sub: ['a'] }, '1: a=1', 'initial'],
    ['request', { unsub: ['a'] }, null, 'update'],
    ['request', { sub: ['a'] }, null, 'update'],
    ['request', { nonce: '1' }, '2: a=1', 'ack'],
  ],
  [
    'not-exist: told as removed once, remembered, sent when born, told again when gone',
    {},
    ['request', { sub: ['z'] }, '1: -z', 'initial'],
    ['request', { nonce: '1' }, null, 'ack'],
    ['update', { y: '1' }, null],
    ['update', { z: '1' }, '2: z=1'],
    ['request', { nonce: '2' }, null, 'ack'],
    ['update', {}, '3: -z'],
  ],
  [
    'deletion: removed_resources, also by wildcard, once',
    AB,
    ['request', {}, '1: a=1 b=1', 'initial'],
    ['request', { nonce: '1' }, null, 'ack'],
    ['update', { a: '1' }, '2: -b'],
    ['request', { nonce: '2' }, null, 'ack'],
    ['update', { a: '1' }, null],
  ],
  ['ack: never answered', AB, ['request', {}, '1: a=1 b=1', 'initial'], ['request', { nonce: '1' }, null, 'ack']],
  [
    'nack: not repeated; the next change is sent',
    AB,
    ['request', { sub: ['a'] }, '1: a=1', 'initial'],
    ['request', { nonce: '1', error: NACK }, null, 'nack'],
    ['update', AB, null],
    ['update', { a: '2' }, '2: a=2'],
    ['request', { nonce: '2' }, null, 'ack'],
  ],
  [
    'nack: names in it are applied',
    AB,
    ['request', { sub: ['a'] }, '1: a=1', 'initial'],
    ['request', { nonce: '1', error: NACK, sub: ['b'] }, '2: b=1', 'nack'],
  ],
  [
    'stale nonce: neither ACK nor NACK, but its names are applied',
    AB,
    ['request', { sub: ['a'] }, '1: a=1', 'initial'],
    ['request', { nonce: '1' }, null, 'ack'],
    ['update', { a: '2', b: '1' }, '2: a=2'],
    ['request', { nonce: '1', error: NACK, sub: ['b'] }, null, 'stale'],
    ['request', { nonce: '2' }, '3: b=1', 'ack'],
  ],
  [
    'outstanding: later changes merge into one response',
    AB,
    ['request', {}, '1: a=1 b=1', 'initial'],
    ['update', { a: '2', b: '1' }, null],
    ['update', { a: '3', c: '1' }, null],
    ['request', { nonce: '1' }, '2: a=3 c=1 -b', 'ack'],
  ],
  [
    'outstanding: a change undone before the ACK is not sent',
    AB,
    ['request', {}, '1: a=1 b=1', 'initial'],
    ['update', { a: '2', b: '1' }, null],
    ['update', AB, null],
    ['request', { nonce: '1' }, null, 'ack'],
  ],
  [
    'reconnect: only differences to initial_resource_versions',
    { a: '1', b: '2' },
    ['request', { sub: ['a', 'b', 'c'], have: { a: '1', b: '1', c: '1' } }, '1: b=2 -c', 'initial'],
  ],
  [
    'reconnect: by wildcard, with nothing changed, is silent',
    AB,
    ['request', { have: AB }, null, 'initial'],
    ['update', { a: '1' }, '1: -b'],
  ],
  [
    'reconnect: the nonce of an earlier stream means nothing',
    AB,
    ['request', { sub: ['a'], have: { a: '0' }, nonce: '1' }, '1: a=1', 'initial'],
  ],
  [
    'reconnect: versions of names not asked for are ignored',
    AB,
    ['request', { sub: ['a'], have: { b: '0', q: '0' } }, '1: a=1', 'initial'],
  ],
  [
    'reconnect: initial versions count on the first request only',
    AB,
    ['request', { sub: ['a'] }, '1: a=1', 'initial'],
    ['request', { nonce: '1', sub: ['b'], have: { b: '1' } }, '2: b=1', 'ack'],
  ],
  ['before the first request nothing is sent', AB, ['update', { a: '2' }, null]],
  [
    'warming: a dependent resource is sent again unchanged, after the ACK',
    AB,
    ['request', { sub: ['a'] }, '1: a=1', 'initial'],
    ['resend', 'a', null],
    ['request', { nonce: '1' }, '2: a=1', 'ack'],
    ['resend', 'b', null],
  ],
];

function ask(given: Ask): DeltaRequest {
  return {
    subscribe: given.sub ?? [],
    unsubscribe: given.unsub ?? [],
    initialVersions: new Map(Object.entries(given.have ?? {})),
    nonce: given.nonce ?? '',
    error: given.error ?? null,
  };
}

function show(response: DeltaResponse | null): string | null {
  if (response === null) return null;
  const sent = response.resources.map((r) => `${r.name}=${r.version}`);
  return [`${response.nonce}:`, ...sent, ...response.removed.map((name) => `-${name}`)].join(' ');
}

function play(subscription: DeltaSubscription, step: Step): void {
  if (step[0] === 'update') {
    expect(show(subscription.update(new Map(Object.entries(step[1]))))).toBe(step[2]);
  } else if (step[0] === 'resend') {
    expect(show(subscription.resend(step[1]))).toBe(step[2]);
  } else {
    const outcome = subscription.request(ask(step[1]));
    if (outcome.kind === 'tooManyNames') throw new Error(outcome.message);
    expect([show(outcome.response), outcome.kind]).toEqual([step[2], step[3]]);
    expect(outcome.error).toBe(step[3] === 'nack' ? NACK : null);
  }
}

describe('delta subscription', () => {
  for (const [rule, start, ...steps] of ROWS) {
    test(rule, () => {
      const subscription = new DeltaSubscription(new Map(Object.entries(start)));
      for (const step of steps) play(subscription, step);
    });
  }

  test('nonces are per subscription: one type does not ACK another', () => {
    const clusters = new DeltaSubscription(new Map([['a', '1']]));
    const endpoints = new DeltaSubscription(new Map([['a', '1']]));
    clusters.request(ask({}));
    expect(endpoints.request(ask({ sub: ['a'] }))).toMatchObject({ kind: 'initial' });
    expect(clusters.settled).toBe(false);
    clusters.request(ask({ nonce: '1' }));
    expect([clusters.settled, endpoints.settled]).toEqual([true, false]);
  });

  test('settled only after an ACK, not after a NACK', () => {
    const subscription = new DeltaSubscription(new Map([['a', '1']]));
    subscription.request(ask({}));
    subscription.request(ask({ nonce: '1', error: NACK }));
    expect(subscription.settled).toBe(false);
    subscription.update(new Map([['a', '2']]));
    subscription.request(ask({ nonce: '2' }));
    expect(subscription.settled).toBe(true);
  });

  test('wildcard state is visible to the stream loop', () => {
    const subscription = new DeltaSubscription(new Map());
    subscription.request(ask({ sub: ['a'] }));
    expect([subscription.wildcard, subscription.covers('a'), subscription.covers('b')]).toEqual([false, true, false]);
    subscription.request(ask({ sub: ['*'] }));
    expect([subscription.wildcard, subscription.covers('b')]).toEqual([true, true]);
  });

  test('a client cannot hold names without limit', () => {
    const subscription = new DeltaSubscription(new Map());
    const names = Array.from({ length: SUBSCRIBED_NAMES_MAX }, (_, i) => `n${i}`);
    expect(subscription.request(ask({ sub: names })).kind).toBe('initial');
    expect(subscription.request(ask({ sub: ['one-more'] })).kind).toBe('tooManyNames');
  });
});
