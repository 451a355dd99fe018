// The policies in force as the text of a file, so that a control plane that is killed and started again knows the last
// good state of what is wrong by now. Pure; the file itself is the business of store.ts.

import { type DescMessage, fromBinary, toBinary } from '@bufbuild/protobuf';
import type { Kind, Problem, Resource } from '../model/resource.ts';
import { SCHEMAS } from '../model/resource.ts';
import { violationsOf } from './rules.ts';
import type { PolicyState } from './watch.ts';

/** What a control plane held when it last ran on a policy directory. */
export interface Remembered {
  readonly resources: readonly Resource[];
  /** Whether this problem was there then: the mesh ran with it, and it was told of. */
  knew(problem: Problem): boolean;
}

/** The version of the format that is written, and the only one that is read. */
const VERSION = 1;

/** One resource: everything but what a place says of single fields, which is about a text that is gone by now. */
interface StoredResource {
  readonly kind: string;
  readonly file: string;
  readonly line: number;
  readonly column: number;
  /** weft.policy.v1 in binary, as base64: a file that it names is in it already. */
  readonly message: string;
  readonly caPem: string;
}

interface StoredFile {
  readonly version: number;
  /** Absolute. */
  readonly directory: string;
  readonly problems: readonly string[];
  /** Last, since the pieces of the text end with them. */
  readonly resources: readonly StoredResource[];
}

/** The text that `parseStored` reads, in pieces of one resource. @param directory of the policies, absolute. */
export function* formatStored(
  directory: string,
  state: Pick<PolicyState, 'resources' | 'problems'>,
): Generator<string, void> {
  const head: StoredFile = { version: VERSION, directory, problems: state.problems.map(markOf), resources: [] };
  yield JSON.stringify(head).slice(0, -']}'.length);
  for (const [i, { kind, message, place, caPem }] of state.resources.entries()) {
    const schema: DescMessage = SCHEMAS[kind];
    const bytes = Buffer.from(toBinary(schema, message));
    const stored: StoredResource = {
      kind,
      file: place.file,
      ...place.at(''),
      message: bytes.toString('base64'),
      caPem,
    };
    yield `${i === 0 ? '' : ','}\n${JSON.stringify(stored)}`;
  }
  yield '\n]}\n';
}

/**
 * Reads what was stored for `directory` (absolute). Throws an Error that says why it is of no use: damaged, of another
 * version, or of another directory, whose files say nothing about these.
 */
export function parseStored(text: string, directory: string): Remembered {
  const file = parseJson(text) as Partial<StoredFile> | null;
  if (file?.version !== VERSION) {
    throw new Error(`it is of version ${JSON.stringify(file?.version)}; this control plane reads version ${VERSION}`);
  }
  if (file.directory !== directory) throw new Error(`it is of the policies in ${file.directory}`);
  if (!Array.isArray(file.resources) || !Array.isArray(file.problems)) throw new Error('it is damaged');
  const marks = new Set<unknown>(file.problems);
  return { resources: file.resources.map(restore), knew: (problem) => marks.has(markOf(problem)) };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new Error('it is damaged: not JSON');
  }
}

/** A policy that breaks a rule of its schema was not written by us: nothing behind this point expects one. */
function restore(stored: StoredResource, i: number): Resource {
  try {
    const { kind, file, line, column, caPem } = stored;
    if (!Object.hasOwn(SCHEMAS, kind)) throw new Error(`there is no kind ${JSON.stringify(kind)}`);
    if (![file, caPem].every((text) => typeof text === 'string')) throw new Error('a text is missing');
    if (![line, column].every(Number.isInteger)) throw new Error('its place is missing');
    const schema = SCHEMAS[kind as Kind];
    const message = fromBinary(schema as typeof SCHEMAS.Service, Buffer.from(stored.message, 'base64'));
    const broken = violationsOf(schema, message)[0];
    if (broken !== undefined) throw new Error(`${broken.fieldPath}: ${broken.message}`);
    const { name = '', namespace = '' } = message.metadata ?? {};
    const place = { file, at: () => ({ line, column }) };
    return { kind, namespace: namespace || 'default', name, message, place, caPem } as Resource;
  } catch (error) {
    throw new Error(`it is damaged: resource ${i + 1}: ${(error as Error).message}`);
  }
}

/** What makes a problem the one that was there before. With its place: of an edited file nobody knows what else changed. */
function markOf({ file, line, column, resource, message }: Problem): string {
  return `${file}:${line}:${column} ${resource} ${message}`;
}
