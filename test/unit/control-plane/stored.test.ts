// The policies in force as text: what is read is what was written, and what is of no use is told with its reason.
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { toJson } from '@bufbuild/protobuf';
import { afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import type { Resource } from '../../../control-plane/model/resource.ts';
import { SCHEMAS } from '../../../control-plane/model/resource.ts';
import { readPolicies } from '../../../control-plane/source/files.ts';
import { type Taken, takeGood } from '../../../control-plane/source/last-good.ts';
import { PolicyStore } from '../../../control-plane/source/store.ts';
import { formatStored, parseStored } from '../../../control-plane/source/stored.ts';
import { buildDescriptors } from '../../support/descriptors.ts';

const POLICIES = `kind: Service
metadata: { name: a, namespace: shop }
spec: { ports: [{ port: 80, protocol: GRPC }], transcoding: { descriptorSetFile: a.binpb, services: [a.A] } }
---
kind: Authorization
metadata: { name: a, namespace: shop }
spec: { targetRefs: [{ name: a }], action: DENY, rules: [{ from: [{ serviceAccount: b }] }] }
---
kind: Provider
metadata: { name: p }
spec: { format: OPENAI_CHAT, baseUrl: 'https://models.example/v1' }
`;

let directory = '';
let descriptors: Uint8Array = new Uint8Array();
beforeAll(() => {
  descriptors = buildDescriptors('syntax = "proto3"; package a; service A { rpc B(M) returns (M); } message M {}');
});
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'weft-stored-'));
  writeFileSync(join(directory, 'a.binpb'), descriptors);
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

async function take(text = POLICIES, before: readonly Resource[] = []): Promise<Taken> {
  writeFileSync(join(directory, 'a.yaml'), text);
  return takeGood(before, await readPolicies(directory));
}

function shown(resources: readonly Resource[]): unknown[] {
  return resources.map(({ kind, namespace, name, message, caPem, place }) => {
    const json = toJson(SCHEMAS[kind] as typeof SCHEMAS.Service, message as Resource<'Service'>['message']);
    return { kind, namespace, name, json, caPem, file: place.file, at: place.at('') };
  });
}

const format = (...args: Parameters<typeof formatStored>) => [...formatStored(...args)].join('');
const state = (taken: Taken) => ({ revision: 1, ...taken });

test('what is read is what was written: messages with the files they name, roots, places and problems', async () => {
  const { resources } = await take();
  expect(resources).toHaveLength(3);
  const rooted = resources.map((one) => (one.kind === 'Provider' ? { ...one, caPem: 'PEM' } : one));
  const { problems } = await take(`${POLICIES}---\nkind: Route\nmetadata: { name: r }\nspec: { hostz: [a] }\n`);
  const read = parseStored(format('/policies', { resources: rooted, problems }), '/policies');
  expect(shown(read.resources)).toEqual(shown(rooted));
  expect(parseStored(format('/policies', { resources: [], problems }), '/policies').resources).toEqual([]);
  expect(shown(read.resources)[1]).toMatchObject({ namespace: 'shop', name: 'a', file: 'a.yaml', at: { line: 5 } });
  const [problem] = problems;
  if (problem === undefined) throw new Error('a wrong Route has a problem');
  expect(read.knew(problem)).toBe(true);
  for (const edited of [{ line: 9 }, { file: 'b.yaml' }, { resource: 'Route/default/b' }, { message: 'another' }]) {
    expect(read.knew({ ...problem, ...edited })).toBe(false);
  }
});

test('of a wrong policy the stored state stays as one that was never stored', async () => {
  const before = await take();
  const { resources } = parseStored(format('/policies', before), '/policies');
  const wrong = POLICIES.replace('serviceAccount: b', 'serviceAcount: b').replace('port: 80', 'port: x');
  const after = await take(wrong, resources);
  expect(after).toMatchObject(await take(wrong, before.resources).then(({ problems }) => ({ problems })));
  expect(shown(after.resources)).toEqual(expect.arrayContaining(shown(resources)));
  expect(after.problems.map(({ lastGoodStays }) => lastGoodStays)).not.toContain(false);
});

const good = () => ({ version: 1, directory: '/policies', resources: [] as unknown[], problems: [] as string[] });
const resource = { kind: 'Service', file: 'a.yaml', line: 1, column: 1, caPem: '' };
/** A Service named `a` without a spec, which a rule of its schema needs. */
const bare = { ...resource, message: Buffer.from([10, 3, 10, 1, 97]).toString('base64') };

test.each<[string, unknown, RegExp]>([
  ['half a file', '{"version":1,', /damaged: not JSON/],
  ['no object', 'null', /version undefined/],
  ['a newer version', { ...good(), version: 2 }, /of version 2; this control plane reads version 1/],
  ['another directory', { ...good(), directory: '/other' }, /of the policies in \/other/],
  ['no resources', { ...good(), resources: 'none' }, /damaged/],
  ['no problems', { ...good(), problems: null }, /damaged/],
  ['a null', { ...good(), resources: [null] }, /damaged: resource 1/],
  ['an unknown kind', { ...good(), resources: [{ ...bare, kind: 'toString' }] }, /resource 1: there is no kind/],
  ['no file', { ...good(), resources: [{ ...bare, file: 7 }] }, /a text is missing/],
  ['no line', { ...good(), resources: [{ ...bare, line: '7' }] }, /its place is missing/],
  ['bytes that are no message', { ...good(), resources: [{ ...resource, message: 'Cv8B' }] }, /damaged: resource 1/],
  ['a message that breaks a rule', { ...good(), resources: [bare] }, /damaged: resource 1: spec/],
])('%s is of no use', (_what, file, reason) => {
  const text = typeof file === 'string' ? file : JSON.stringify(file);
  expect(() => parseStored(text, '/policies')).toThrow(reason);
});

test('a store writes privately, the newest state last, and nothing when nothing changed', async () => {
  const errors: Error[] = [];
  const options = { dataDir: directory, directory: '/policies', onError: (error: Error) => errors.push(error) };
  const store = new PolicyStore(options);
  expect(store.read()).toBeNull();
  const first = await take();
  expect(first.resources).toHaveLength(3);
  const second = await take(POLICIES.replace('port: 80', 'port: 81'));
  store.save(state(first));
  store.save(state(second));
  await store.close();
  expect(readFileSync(store.path, 'utf8')).toBe(format('/policies', second));
  expect(statSync(store.path).mode & 0o777).toBe(0o600);
  store.save(state(first));
  await store.close();
  expect(readFileSync(store.path, 'utf8')).toBe(format('/policies', first));
  const again = new PolicyStore(options);
  expect(shown(again.read()?.resources ?? [])).toEqual(shown(first.resources));
  const { ino } = statSync(store.path);
  again.save(state(first));
  await again.close();
  expect(statSync(store.path).ino).toBe(ino);
  expect(readdirSync(directory).filter((name) => name.endsWith('.tmp'))).toEqual([]);
  expect(errors).toEqual([]);
});

test('a disk that refuses is told of, and the next change is written', async () => {
  const errors: Error[] = [];
  const dataDir = join(directory, 'later');
  const store = new PolicyStore({ dataDir, directory: '/policies', onError: (error) => errors.push(error) });
  const taken = await take();
  writeFileSync(dataDir, 'a file');
  store.save(state(taken));
  await store.close();
  expect(errors.map(({ message }) => message)).toEqual([expect.stringContaining('ENOTDIR')]);
  rmSync(dataDir);
  mkdirSync(dataDir);
  store.save(state(taken));
  await store.close();
  expect(shown(store.read()?.resources ?? [])).toEqual(shown(taken.resources));
});
