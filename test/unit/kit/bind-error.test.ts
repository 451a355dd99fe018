// Why a port could not be had: the same sentence of both programs, whoever reports the system's code.
import { expect, test } from 'vitest';
import { bindFailure } from '../../../proto/kit/bind-error.ts';

const API = { name: 'api', host: '127.0.0.1', port: 15016, option: '--api-port', hostOption: '--api-host' };
const coded = (code: string) => Object.assign(new Error('listen failed'), { code });

test.each([
  [coded('EADDRINUSE'), 'is in use by another process; stop that one, or choose another with --api-port'],
  [coded('EACCES'), 'may not be bound by this user; ports below 1024 need a capability'],
  [coded('EADDRNOTAVAIL'), 'is not an address of this machine; see `ip address`, or choose another with --api-host'],
  // As grpc-js says it: no code of its own.
  [
    new Error('No address added out of total 1 resolved errors: [listen EADDRINUSE: address already in use]'),
    'is in use',
  ],
  [new Error('odd'), 'cannot be bound (odd)'],
])('%s', (error, why) => {
  expect(bindFailure(API, error)).toMatch(/^api port 127\.0\.0\.1:15016 .*, or choose another with --api-(port|host)$/);
  expect(bindFailure(API, error)).toContain(why);
});

test('an IPv6 address stands in brackets', () => {
  expect(bindFailure({ ...API, host: '::1' }, coded('EACCES'))).toContain('[::1]:15016');
});
