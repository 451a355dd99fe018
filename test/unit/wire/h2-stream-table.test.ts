// The table of open streams beside a Map, through random additions and removals of ids that collide.

import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Http2Stream } from '../../../sidecar/wire/http2/stream.ts';
import { StreamTable } from '../../../sidecar/wire/http2/stream-table.ts';

const ids = fc.oneof(
  fc.nat(60).map((n) => n * 2 + 1),
  fc.nat(20).map((n) => n * 64 + 1),
);

test('holds what a Map would hold', () => {
  fc.assert(
    fc.property(fc.array(ids, { maxLength: 300 }), (steps) => {
      const table = new StreamTable();
      const map = new Map<number, Http2Stream>();
      for (const id of steps) {
        if (map.has(id)) {
          expect(table.delete(id)).toBe(map.delete(id));
        } else {
          const stream = { id } as Http2Stream;
          map.set(id, stream);
          table.add(stream);
        }
        expect(table.size).toBe(map.size);
        for (const known of steps) expect(table.get(known)).toBe(map.get(known));
      }
      const byId = (a: Http2Stream, b: Http2Stream): number => a.id - b.id;
      expect(table.list().sort(byId)).toEqual([...map.values()].sort(byId));
      table.clear();
      expect([table.size, table.list(), table.delete(1)]).toEqual([0, [], false]);
    }),
    { numRuns: 100 },
  );
});
