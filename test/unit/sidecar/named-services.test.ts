// Services that the command line names: what is said of those that the config does not know.
import { expect, test } from 'vitest';
import { unknownServices } from '../../../sidecar/config/named-services.ts';

const KNOWN = new Map([
  ['default/orders', [80, 81]],
  ['shop/web', [80]],
]);
const said = (service: string, port = 0) => unknownServices([{ option: `--local ${service}`, service, port }], KNOWN);

test.each([
  ['default/orders', 0],
  ['default/orders', 81],
  ['shop/web', 0],
])('%s with port %d is known', (service, port) => {
  expect(said(service, port)).toEqual([]);
});

test.each([
  ['default/ordres', 'did you mean orders?'],
  ['default/web', 'did you mean shop/web?'],
  // The same namespace makes no two names alike.
  ['default/a', 'requests get 404 until a policy brings it'],
])('%s is not, and the nearest one is named', (service, advice) => {
  expect(said(service)).toEqual([expect.stringContaining(advice)]);
  expect(said(service)[0]).toContain(`--local ${service}: there is no Service ${service}`);
});

test('a port that the Service does not have is named with those that it has', () => {
  expect(said('default/orders', 9)).toEqual([
    '--local default/orders: Service default/orders has no port 9; it has 80, 81',
  ]);
});
