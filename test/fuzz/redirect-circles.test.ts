// What `weft check` calls a circle of redirects is one in the sidecar's own route table and redirect filter, and the
// other way round.

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { fuzz, fuzzTimeoutMs } from '../support/fuzz.ts';
import { beside, goesRound } from '../support/redirects.ts';

/** Few words, so that rules often tie, nest and redirect to each other. */
const literal = fc.constantFrom('/', '/a', '/a/', '/a/b', '/b', '/%61', '/A');
const path = fc.oneof(
  fc.record({ exact: literal }),
  fc.record({ prefix: literal }),
  fc.record({ regex: fc.constantFrom('/a', '/.*', '/[ab]') }),
);
const pathRewrite = fc.oneof(fc.record({ full: literal }), fc.record({ prefix: literal }));
const SERVICES = ['orders', 'far'].map((name) => ({
  kind: 'Service',
  metadata: { name },
  spec: { ports: [{ port: 80 }, { port: 81, protocol: 'TCP' }] },
}));

/** A redirect that changes nothing is a mistake even where its rule never answers. */
const turn = fc.record(
  { scheme: fc.constantFrom('http', 'https'), host: fc.constantFrom('orders', 'far'), path: pathRewrite },
  { requiredKeys: ['path'] },
);
/** No conditions, so that there is no doubt who answers; nearly every rule redirects. */
const plainRule = fc.record(
  {
    matches: fc.array(fc.record({ path }), { minLength: 1, maxLength: 2 }),
    filters: fc.tuple(fc.record({ redirect: turn })),
  },
  { requiredKeys: ['matches'] },
);
const plainRoute = fc
  .record({ host: fc.constantFrom('orders', 'far'), rules: fc.array(plainRule, { minLength: 1, maxLength: 3 }) })
  .map(({ host, rules }) => ({ kind: 'Route', metadata: { name: host }, spec: { hosts: [host], rules } }));
const STARTS = ['/', '/any', '/a', '/a/', '/a/any', '/a/b', '/a/b/any', '/b', '/b/any', '/A', '/A/any'];

test(
  'what check calls a circle is one in sidecars, and the other way round',
  () => {
    let circles = 0;
    fuzz(
      'redirects that lead back',
      fc.property(fc.uniqueArray(plainRoute, { maxLength: 2, selector: ({ metadata }) => metadata.name }), (list) => {
        const { resources, found } = beside([...SERVICES, ...list], ({ message }) => message.startsWith('redirects '));
        const turning = ['orders', 'far'].some((host) => STARTS.some((start) => goesRound(resources, host, start)));
        if (turning) circles++;
        // What an expression matches is not guessed, so a circle that only such requests enter may be missed.
        if (found.length > 0 || !JSON.stringify(list).includes('"regex"')) expect(found.length > 0).toBe(turning);
      }),
    );
    expect(circles).toBeGreaterThan(0);
  },
  fuzzTimeoutMs(),
);
