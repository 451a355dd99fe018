// The tour's trace: one order placed at web, followed through every sidecar it met.

import { formatTree, type SpanNode, spanTree } from '../spans.ts';
import { until } from '../until.ts';
import { call, newTrace, type TourContext } from './context.ts';
import { must, type Step } from './step.ts';

/** Two a hop: web to orders, orders to inventory, orders to scorer. */
const SPANS = 6;

export const traceSteps: readonly Step<TourContext>[] = [
  {
    name: 'the span tree of one order',
    expected:
      'one tree: web calls orders, and within it orders calls inventory and scorer; a span of each sidecar on each side',
    boundMs: 20_000,
    async run({ mesh, receiver }) {
      const { traceId, headers } = newTrace();
      const order = JSON.stringify({ sku: 'lamp', quantity: 2, amount: 59 });
      const placed = await call(
        mesh.instance('web').appPort,
        'POST',
        '/orders',
        { ...headers, 'content-type': 'application/json' },
        order,
      );
      must(placed.status === 201, `${placed.status}: ${placed.body}`);
      await until(`${SPANS} spans`, 8_000, () => receiver.spans(traceId).length >= SPANS).catch((error: Error) => {
        throw new Error(
          `${error.message}; ${receiver.spans(traceId).length} came\n${formatTree(spanTree(receiver.spans(traceId)))}`,
        );
      });
      const roots = spanTree(receiver.spans(traceId));
      const shape = roots.map(shapeOf).join('; ');
      const tree = formatTree(roots);
      const wanted = 'web>orders(orders>inventory, orders>scorer)';
      must(shape === wanted, `the tree is ${shape}, not ${wanted}\n${tree}`);
      return `${placed.body}\n${tree}`;
    },
  },
];

/** `web>orders(orders>inventory)`: caller and callee of each hop, and the hops within. Names are sorted: calls made at the same time have no order. */
function shapeOf(node: SpanNode): string {
  const served = node.children[0];
  const within = (served?.children ?? []).map(shapeOf).sort();
  const hop = `${node.span.service}>${served?.span.service ?? '?'}`;
  return within.length === 0 ? hop : `${hop}(${within.join(', ')})`;
}
