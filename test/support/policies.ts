// Policy files as tests write them: short beginnings of each kind, read as a directory of files is read.
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Policies } from '../../control-plane/source/files.ts';
import { readPolicies } from '../../control-plane/source/files.ts';

/** What the control plane makes of a directory with these files. */
export async function read(files: Record<string, string>): Promise<Policies> {
  const directory = await mkdtemp(join(tmpdir(), 'weft-policies-'));
  try {
    for (const [name, text] of Object.entries(files)) await writeFile(join(directory, name), text);
    return await readPolicies(directory);
  } finally {
    await rm(directory, { recursive: true });
  }
}

/** A row of a table of mistakes: what is wrong, the text, and each problem as `shown` puts it. */
export type Mistake = readonly [string, string, ...string[]];

/** Each problem of a file with this text as `line:column path | fix`, in the order in which they are told. */
export async function shown(text: string): Promise<string[]> {
  const { problems } = await read({ 'p.yaml': text });
  return problems.map((p) => `${p.line}:${p.column} ${p.fieldPath} | ${p.fix}`);
}

/** A Service on line 1 to 5; what follows begins on line 6. */
export const orders = `kind: Service
metadata: { name: orders }
spec:
  ports: [{ port: 80 }]
---
`;
export const route = (spec: string) => `${orders}kind: Route\nmetadata: { name: r }\nspec:\n${spec}`;
export const service = (spec: string) => `kind: Service\nmetadata: { name: s }\nspec:\n${spec}`;
export const allow = (spec: string) => `${orders}kind: Authorization\nmetadata: { name: a }\nspec:\n${spec}`;
export const provider = (spec: string) =>
  `kind: Provider\nmetadata: { name: p }\nspec:\n  format: OPENAI_CHAT\n${spec}`;
export const model = (spec: string) =>
  `${provider('  baseUrl: https://h/v1\n---\n')}kind: Model\nmetadata: { name: m }\nspec:\n${spec}`;
