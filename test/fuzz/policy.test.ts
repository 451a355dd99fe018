// Whatever a policy file holds, reading it ends with problems that have a place and a fix, never with a throw.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { check } from '../../control-plane/model/check.ts';
import { decodeDocument } from '../../control-plane/source/decode.ts';
import { parseDocuments } from '../../control-plane/source/yaml.ts';
import { fuzz, fuzzTimeoutMs } from '../support/fuzz.ts';

const WORDS = [
  'kind',
  'Service',
  'Route',
  'Authorization',
  'Model',
  'metadata',
  'name',
  'spec',
  'ports',
  'port',
  'rules',
  'matches',
  'path',
  'regex',
  'backends',
  'service',
  'hosts',
  '80',
  '-1',
  'GRPC',
  '1s',
  '<<',
  '*a',
  '&a',
  '[',
  ']',
  '{',
  '}',
  ':',
  ': ',
  ', ',
  '- ',
  '\n',
  '\n  ',
  '---\n',
  '"',
  '__proto__',
  '!!binary',
  'null',
];

function readAll(name: string, text: string): void {
  const { documents, problems } = parseDocuments(name, text);
  const decoded = documents.map(decodeDocument);
  const checked = check(
    decoded.flatMap((d) => d.resource ?? []),
    new Set(),
  );
  for (const problem of [...problems, ...decoded.flatMap((d) => d.problems), ...checked.problems]) {
    expect(problem.line).toBeGreaterThan(0);
    expect(problem.column).toBeGreaterThan(0);
    expect(problem.fix).not.toBe('');
  }
}

test('any text is read without a throw', { timeout: fuzzTimeoutMs() }, () => {
  fuzz(
    'policies as text',
    fc.property(
      fc.array(fc.oneof(fc.constantFrom(...WORDS), fc.string()), { maxLength: 40 }).map((p) => p.join('')),
      (text) => readAll('a.yaml', text),
    ),
  );
});

test('any JSON value is read without a throw', { timeout: fuzzTimeoutMs() }, () => {
  const kinds = ['Service', 'Route', 'Authorization', 'Provider', 'Model', 'Telemetry'];
  const tree = fc.letrec((tie) => ({
    value: fc.oneof(
      { depthSize: 'small' },
      fc.constantFrom<unknown>(...WORDS, 80, 0, -1, 1.5, true, null),
      tie('list'),
      tie('map'),
    ),
    list: fc.array(tie('value'), { maxLength: 4 }),
    map: fc.dictionary(fc.constantFrom(...WORDS), tie('value'), { maxKeys: 5 }),
  }));
  const document = fc
    .tuple(fc.constantFrom(...kinds), tree.value, tree.value)
    .map(([kind, metadata, spec]) => JSON.stringify({ kind, metadata, spec }));
  fuzz(
    'policies as JSON',
    fc.property(document, (text) => readAll('a.json', text)),
  );
});
