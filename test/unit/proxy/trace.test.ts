// Which trace contexts are carried on, and what of them (W3C Trace Context §3, Level 2 §3.2.2.5).

import { expect, test } from 'vitest';
import { continueTrace } from '../../../sidecar/proxy/trace.ts';
import { type HeaderList, headerValue } from '../../../sidecar/wire/headers.ts';

const IDS = '4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7';

function carried(sent: string): string {
  const headers: HeaderList = ['traceparent', sent, 'tracestate', 'a=1'];
  const trace = continueTrace(headers, 0, 0.5);
  const own = headerValue(headers, 'traceparent') ?? '';
  expect(own).toBe(`00-${trace.traceId}-${trace.spanId}-${own.slice(-2)}`);
  expect(headerValue(headers, 'tracestate')).toBe(trace.parentSpanId === '' ? undefined : 'a=1');
  return trace.parentSpanId === '' ? 'a new trace' : `${trace.traceId}-${trace.parentSpanId} ${own.slice(-2)}`;
}

test.each([
  [`00-${IDS}-01`, `${IDS} 01`],
  [`00-${IDS}-00`, `${IDS} 00`],
  [`00-${IDS}-03`, `${IDS} 03`],
  [`00-${IDS}-ff`, `${IDS} 03`],
  [`cc-${IDS}-01`, `${IDS} 01`],
  [`cc-${IDS}-01-what-comes-later`, `${IDS} 01`],
  [`cc-${IDS}-01.what`, 'a new trace'],
  [`00-${IDS}-01-x`, 'a new trace'],
  [`00-${IDS}-01-`, 'a new trace'],
  [`ff-${IDS}-01`, 'a new trace'],
  [`00-${IDS.toUpperCase()}-01`, 'a new trace'],
  [`00-${'0'.repeat(32)}-00f067aa0ba902b7-01`, 'a new trace'],
  [`00-4bf92f3577b34da6a3ce929d0e0e4736-${'0'.repeat(16)}-01`, 'a new trace'],
])('%s is carried on as %s', (sent, expected) => {
  expect(carried(sent)).toBe(expected);
});

test('two of them, by one name, are none: a new trace begins, and no third one travels', () => {
  const other = '11111111111111111111111111111111-2222222222222222';
  const headers: HeaderList = ['traceparent', `00-${IDS}-01`, 'tracestate', 'a=1', 'traceparent', `00-${other}-01`];
  const trace = continueTrace(headers, 0, 0.5);
  expect(trace.parentSpanId).toBe('');
  expect([IDS, other].some((ids) => ids.startsWith(trace.traceId))).toBe(false);
  expect(headers).toEqual(['traceparent', `00-${trace.traceId}-${trace.spanId}-00`]);
});
