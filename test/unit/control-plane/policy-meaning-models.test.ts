// Providers, Models and Telemetry that lead nowhere, back to the sidecar, or say nothing.
import { rootCertificates } from 'node:tls';
import { expect, test } from 'vitest';
import { type Mistake, model, provider, read, service, shown } from '../../support/policies.ts';

const CASES: readonly Mistake[] = [
  [
    'URL with a bad port',
    provider('  baseUrl: https://h:99999/v1\n'),
    '5:12 spec.baseUrl | write a whole URL, such as https://api.example.com/v1',
  ],
  ['URL with a query', provider('  baseUrl: https://h/v1?key=1\n'), '5:12 spec.baseUrl | write `https://h/v1`'],
  [
    'URL of the call itself',
    provider('  baseUrl: https://h/v1/chat/completions\n'),
    '5:12 spec.baseUrl | write `https://h/v1`',
  ],
  [
    'alias of white space',
    model('  aliases: [" "]\n  targets: [{ provider: p, model: x }]\n'),
    '10:13 spec.aliases[0] | write a name',
  ],
  [
    'empty alias',
    model('  aliases: [""]\n  targets: [{ provider: p, model: x }]\n'),
    '10:13 spec.aliases[0] | write something, or remove it',
  ],
  [
    'target twice',
    model('  targets: [{ provider: p, model: x }, { provider: p, model: x }]\n'),
    '10:40 spec.targets[1] | remove one of the two, and add up the weights',
  ],
  [
    'negative price',
    model('  targets: [{ provider: p, model: x, price: { inputMicroUsdPerMillion: -1 } }]\n'),
    '10:72 spec.targets[0].price.inputMicroUsdPerMillion | write a number from 0 to 18446744073709551615',
  ],
  [
    'Model that calls itself',
    provider(
      '  baseUrl: http://localhost:15004/v1\n---\nkind: Model\nmetadata: { name: m }\nspec: { targets: [{ provider: p, model: m }] }\n',
    ),
    '9:19 spec.targets[0] | name a Provider outside of the mesh',
  ],
  [
    'Models that call each other',
    provider(
      '  baseUrl: http://localhost:15004/v1\n---\nkind: Model\nmetadata: { name: m }\nspec: { aliases: [a], targets: [{ provider: p, model: b }] }\n---\nkind: Model\nmetadata: { name: n }\nspec: { aliases: [b], targets: [{ provider: p, model: a }] }\n',
    ),
    '9:33 spec.targets[0] | name a Provider outside of the mesh',
    '13:33 spec.targets[0] | name a Provider outside of the mesh',
  ],
  [
    'Telemetry that says nothing',
    'kind: Telemetry\nmetadata: { name: t }\nspec: {}\n',
    '3:7 spec | add `tracing` or `accessLog`',
  ],
  [
    'share above 100',
    'kind: Telemetry\nmetadata: { name: t }\nspec: { tracing: { samplingPercent: 101 } }\n',
    '3:37 spec.tracing.samplingPercent | write a value for `samplingPercent` that is greater than or equal to 0 and less than or equal to 100',
  ],
];

test.each(CASES)('%s is shown where it is, with a fix', async (_what, text, ...expected) => {
  expect(await shown(text)).toEqual(expected);
});

test.each([
  ['no certificate', 'hello', 'holds no PEM certificate'],
  [
    'text that is none',
    `-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n`,
    'certificate 1 of 1 cannot be read',
  ],
  [
    'one that was cut off',
    `${rootCertificates[0]}\n${rootCertificates[1]?.slice(0, 200)}`,
    'certificate 2 of 2 cannot be read',
  ],
  ['two roots', `${rootCertificates[0]}\n${rootCertificates[1]}\n`, undefined],
])('roots of a Provider or a Service: %s', async (_what, pem, message) => {
  const outside = '  ports: [{ port: 443, tls: SIMPLE }]\n  dns: { host: a.example }\n  caFile: roots.pem\n';
  const { problems, resources } = await read({
    'p.yaml': provider('  baseUrl: https://h/v1\n  caFile: roots.pem\n'),
    's.yaml': service(outside),
    'roots.pem': pem,
  });
  const at = ['6:11', '6:11'];
  expect(problems.map((p) => `${p.line}:${p.column} ${p.message}`)).toEqual(
    message ? at.map((place) => `${place} ${message}`) : [],
  );
  expect(resources.map(({ caPem }) => caPem)).toEqual(message ? [] : [pem, pem]);
});

test('two Models that lead to each other are shown with the whole way', async () => {
  const { problems } = await read({
    'p.yaml': provider(
      '  baseUrl: http://127.0.0.1:15004/v1\n---\nkind: Model\nmetadata: { name: m }\nspec: { aliases: [a], targets: [{ provider: p, model: b }] }\n---\nkind: Model\nmetadata: { name: n }\nspec: { aliases: [b], targets: [{ provider: p, model: a }] }\n',
    ),
  });
  expect(problems.map((p) => p.message.replace(/^.*: /, ''))).toEqual(['m → n → m', 'n → m → n']);
});
