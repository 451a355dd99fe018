// Whatever client and server do in whatever order, once all is answered the client holds exactly what it asked for and
// exists. The model is a client that follows the protocol; fast-check looks for an order that breaks it.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type DeltaResponse, DeltaSubscription } from '../../../control-plane/discovery/subscription.ts';

const NAMES = ['a', 'b', 'c', '*'];
const names = fc.uniqueArray(fc.constantFrom(...NAMES), { maxLength: 3 });
const versions = fc.dictionary(fc.constantFrom('a', 'b', 'c'), fc.constantFrom('1', '2'), { maxKeys: 3 });
const step = fc.oneof(
  fc.record({ kind: fc.constant('ask' as const), sub: names, unsub: names, stale: fc.boolean() }),
  fc.record({ kind: fc.constant('update' as const), versions }),
  fc.record({ kind: fc.constant('answer' as const), nack: fc.boolean() }),
);

class Client {
  readonly held = new Map<string, string>();
  readonly asked = new Set<string>();
  waiting: DeltaResponse | null = null;

  covers(name: string): boolean {
    return this.asked.has(name) || this.asked.has('*');
  }

  receive(response: DeltaResponse | null): void {
    if (response === null) return;
    expect(this.waiting, 'one response outstanding').toBe(null);
    this.waiting = response;
    const sent = [...response.resources.map((resource) => resource.name), ...response.removed];
    expect(new Set(sent).size, 'no name twice').toBe(sent.length);
    for (const { name, version } of response.resources) if (this.covers(name)) this.held.set(name, version);
    for (const name of response.removed) this.held.delete(name);
  }

  ask(sub: readonly string[], unsub: readonly string[]): void {
    for (const name of unsub) this.asked.delete(name);
    for (const name of sub) this.asked.add(name);
    for (const name of this.held.keys()) if (!this.covers(name)) this.held.delete(name);
  }
}

test('after any history the client converges on what it covers and exists', () => {
  fc.assert(
    fc.property(versions, names, versions, fc.array(step, { maxLength: 12 }), (start, first, have, steps) => {
      let resources = new Map(Object.entries(start));
      const subscription = new DeltaSubscription(resources);
      const client = new Client();
      const send = (subscribe: string[], unsubscribe: string[], nonce: string, nack: boolean, kept = {}): void => {
        const error = nack ? { code: 3, message: 'no' } : null;
        const initialVersions = new Map<string, string>(Object.entries(kept));
        const outcome = subscription.request({ subscribe, unsubscribe, initialVersions, nonce, error });
        if (outcome.kind !== 'tooManyNames') client.receive(outcome.response);
      };
      const settle = (nack: boolean): void => {
        const nonce = client.waiting?.nonce;
        client.waiting = null;
        if (nonce !== undefined) send([], [], nonce, nack);
      };
      for (const [name, version] of Object.entries(have)) client.held.set(name, version);
      client.ask(first.length === 0 ? ['*'] : first, []);
      send(first, [], '', false, have);
      for (const next of steps) {
        if (next.kind === 'update') {
          resources = new Map(Object.entries(next.versions));
          client.receive(subscription.update(resources));
        } else if (next.kind === 'answer') {
          settle(next.nack);
        } else {
          client.ask(next.sub, next.unsub);
          send(next.sub, next.unsub, next.stale ? 'stale' : '', false);
        }
      }
      for (let rounds = 0; client.waiting !== null; rounds++) {
        expect(rounds, 'answers end').toBeLessThan(4);
        settle(false);
      }
      const wanted = [...resources].filter(([name]) => client.covers(name)).sort();
      expect([...client.held].sort()).toEqual(wanted);
    }),
    { numRuns: 2000 },
  );
});
