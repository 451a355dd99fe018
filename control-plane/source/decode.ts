// A plain document becomes a policy, and every mistake in it is named at once: the value is walked beside the
// descriptor first (names, types, enums, durations), then what is left is decoded and held against the protovalidate rules.

import type { DescEnum, DescField, DescMessage, JsonValue } from '@bufbuild/protobuf';
import { fromJson, ScalarType } from '@bufbuild/protobuf';
import { nearest } from '../../proto/kit/nearest.ts';
import { joinPath } from '../model/field-path.ts';
import type { Kind, Position, Problem, Resource } from '../model/resource.ts';
import { SCHEMAS } from '../model/resource.ts';
import { type Range, rangeOf, violationsOf } from './rules.ts';
import type { SourceDocument } from './yaml.ts';

/** What one document became. */
export interface Decoded {
  /** What could be read of it; with problems, only good for knowing that its name exists. */
  readonly resource: Resource | null;
  readonly problems: Problem[];
}

/** The one version of the policy language. */
const API_VERSION = 'weft/v1';

/** Decodes one document against the schema of its kind. Never throws for bad input. */
export function decodeDocument(document: SourceDocument): Decoded {
  const walk = new Walk(document);
  const value = document.value;
  if (!isObject(value)) {
    walk.report('', 'value', 'a policy is a map with kind, metadata and spec', 'start it with `kind: Service`');
    return { resource: null, problems: walk.problems };
  }
  const kind = kindOf(walk, value);
  if (kind === undefined) return { resource: null, problems: walk.problems };
  if (value.apiVersion !== undefined && value.apiVersion !== API_VERSION) {
    const written = JSON.stringify(value.apiVersion);
    walk.report('apiVersion', 'value', `the version ${written} is not known`, `write \`apiVersion: ${API_VERSION}\``);
  }
  const { kind: _kind, apiVersion: _apiVersion, ...fields } = value;
  const schema: DescMessage = SCHEMAS[kind];
  const json = walk.message(schema, fields, '', ['kind', 'apiVersion']) as JsonValue;
  let message: ReturnType<typeof fromJson>;
  try {
    message = fromJson(schema, json);
  } catch (error) {
    // The walk knows every rule of the mapping that policies use; this keeps a gap in it from ending the program.
    walk.report('', 'value', (error as Error).message, 'correct the field that it names');
    return { resource: null, problems: walk.problems };
  }
  for (const { fieldPath, message: text, fix } of violationsOf(schema, message)) {
    if (!walk.covers(fieldPath)) walk.report(fieldPath, 'value', text, fix);
  }
  const metadata = isObject(value.metadata) ? value.metadata : {};
  const name = typeof metadata.name === 'string' ? metadata.name : '';
  const namespace =
    typeof metadata.namespace === 'string' && metadata.namespace !== '' ? metadata.namespace : 'default';
  const resource = { kind, namespace, name, message, place: document.place, caPem: '' } as Resource;
  const id = name === '' ? kind : `${kind}/${namespace}/${name}`;
  return { resource: name === '' ? null : resource, problems: walk.problems.map((p) => ({ ...p, resource: id })) };
}

/** The kind, or the one that a misspelt word comes close to: the rest is read as that, so that its mistakes are told too. */
function kindOf(walk: Walk, value: Record<string, unknown>): Kind | undefined {
  const kinds = Object.keys(SCHEMAS) as Kind[];
  const written = kinds.find((kind) => kind === value.kind);
  if (written !== undefined) return written;
  if (value.kind === undefined) {
    const close = nearest('kind', Object.keys(value));
    walk.report(
      'kind',
      'value',
      'kind is missing',
      `${close ? `"${close}" looks like it: ` : ''}write one of ${kinds.join(', ')}`,
    );
    return undefined;
  }
  const close = typeof value.kind === 'string' ? (nearest(value.kind, kinds) as Kind | undefined) : undefined;
  walk.report(
    'kind',
    'value',
    `there is no kind ${JSON.stringify(value.kind)}`,
    close ? `write \`${close}\`` : `write one of ${kinds.join(', ')}`,
  );
  return close;
}

/** Walks a value beside its descriptor; returns proto3 JSON that decodes, with placeholders where a list item was bad. */
class Walk {
  readonly problems: Problem[];
  /** Fields whose absence or emptiness was explained by a problem already. */
  readonly #explained: string[] = [];
  readonly #document: SourceDocument;

  constructor(document: SourceDocument) {
    this.#document = document;
    this.problems = [...document.problems];
    for (const problem of document.problems) this.#explained.push(problem.fieldPath);
  }

  report(fieldPath: string, at: 'key' | 'value', message: string, fix: string): undefined {
    const place = this.#document.place;
    const { line, column }: Position = at === 'key' ? place.keyAt(fieldPath) : place.at(fieldPath);
    this.problems.push({ file: place.file, line, column, fieldPath, message, fix, resource: '' });
    this.#explained.push(fieldPath);
    return undefined;
  }

  /** Whether a rule broken at this field only repeats what was said of it, or of something in it. */
  covers(fieldPath: string): boolean {
    return this.#explained.some(
      (path) =>
        path === fieldPath ||
        (fieldPath !== '' && path.startsWith(`${fieldPath}.`)) ||
        path.startsWith(`${fieldPath}[`),
    );
  }

  message(desc: DescMessage, value: unknown, path: string, also: string[] = []): unknown {
    if (desc.typeName === 'google.protobuf.Duration') return this.#duration(value, path);
    if (!isObject(value)) {
      return this.report(
        path,
        'value',
        `expected a map of fields, found ${describe(value)}`,
        `write the fields of ${desc.name}: ${fieldNames(desc)}`,
      );
    }
    const out: Record<string, unknown> = {};
    const chosen = new Map<string, string>();
    for (const [key, member] of Object.entries(value)) {
      const field = desc.fields.find((f) => f.jsonName === key || f.name === key);
      if (field === undefined) {
        const close = nearest(key, [...desc.fields.map((f) => f.jsonName), ...also]);
        if (close !== undefined) this.#explained.push(joinPath(path, close));
        const fix = close
          ? `write \`${close}\``
          : desc.fields.length === 0
            ? 'remove it'
            : `remove it; known here: ${fieldNames(desc)}`;
        this.report(joinPath(path, key), 'key', `unknown field "${key}"`, fix);
        continue;
      }
      const fieldPath = joinPath(path, field.jsonName);
      if (member === null || member === undefined) continue;
      if (field.jsonName in out) {
        this.report(fieldPath, 'key', `"${field.jsonName}" is given in both spellings`, `keep \`${field.jsonName}\``);
        continue;
      }
      const other = field.oneof && chosen.get(field.oneof.name);
      if (field.oneof !== undefined && other !== undefined) {
        this.report(
          fieldPath,
          'key',
          `"${field.jsonName}" excludes "${other}"`,
          `keep one of ${choices(field.oneof.fields)}`,
        );
        continue;
      }
      if (field.oneof !== undefined) chosen.set(field.oneof.name, field.jsonName);
      const checked = this.#field(field, member, fieldPath);
      if (checked !== undefined) out[field.jsonName] = checked;
    }
    return out;
  }

  #field(field: DescField, value: unknown, path: string): unknown {
    switch (field.fieldKind) {
      case 'message':
        return this.message(field.message, value, path);
      case 'enum':
        return this.#enum(field.enum, value, path);
      case 'scalar':
        return this.#scalar(field.scalar, value, path, rangeOf(field));
      case 'list':
        if (!Array.isArray(value)) {
          return this.report(path, 'value', `expected a list, found ${describe(value)}`, 'start each item with `- `');
        }
        // A bad item keeps its place, so that the positions of those behind it stay true.
        return value.map((item, i) => {
          const itemPath = joinPath(path, i);
          if (field.listKind === 'message') return this.message(field.message, item, itemPath) ?? {};
          if (field.listKind === 'enum') return this.#enum(field.enum, item, itemPath) ?? 0;
          return this.#scalar(field.scalar, item, itemPath) ?? placeholder(field.scalar);
        });
      case 'map':
        return this.#map(field, value, path);
    }
  }

  #map(field: DescField & { fieldKind: 'map' }, value: unknown, path: string): unknown {
    if (!isObject(value)) {
      return this.report(path, 'value', `expected a map, found ${describe(value)}`, 'write `name: value` lines');
    }
    const out: Record<string, unknown> = {};
    for (const [key, member] of Object.entries(value)) {
      const keyPath = joinPath(path, key);
      if (field.mapKey !== ScalarType.STRING && this.#scalar(field.mapKey, key, keyPath) === undefined) continue;
      let checked: unknown;
      if (field.mapKind === 'message') checked = this.message(field.message, member, keyPath);
      else if (field.mapKind === 'enum') checked = this.#enum(field.enum, member, keyPath);
      else checked = this.#scalar(field.scalar, member, keyPath);
      // defineProperty: a label called __proto__ is a label.
      if (checked !== undefined) Object.defineProperty(out, key, { value: checked, enumerable: true });
    }
    return out;
  }

  #enum(desc: DescEnum, value: unknown, path: string): unknown {
    const prefix = desc.sharedPrefix?.toUpperCase() ?? '';
    const short = (name: string) => (name.startsWith(prefix) ? name.slice(prefix.length) : name);
    const named = desc.values.filter((v) => v.number !== 0);
    const names = named.map((v) => short(v.name));
    const found = desc.values.find((v) => v.name === value || short(v.name) === value || v.number === value);
    if (found !== undefined) return found.number;
    const close = typeof value === 'string' ? nearest(short(value), names) : undefined;
    const fix = close ? `write \`${close}\`` : `write one of ${names.join(', ')}`;
    return this.report(path, 'value', `${JSON.stringify(value)} is no ${desc.name}`, fix);
  }

  #duration(value: unknown, path: string): unknown {
    const match = typeof value === 'string' ? /^(\d{1,12})(\.\d{1,9})?s$/.exec(value) : null;
    if (match !== null && Number(match[1]) <= 315_576_000_000) return value;
    return this.report(
      path,
      'value',
      `${JSON.stringify(value)} is not a duration in seconds`,
      `write ${durationFix(value)}`,
    );
  }

  #scalar(type: ScalarType, value: unknown, path: string, range: Range = {}): unknown {
    switch (type) {
      case ScalarType.STRING:
        if (typeof value === 'string') return value;
        if (typeof value === 'number' || typeof value === 'boolean') {
          return this.report(path, 'value', `expected text, found ${describe(value)}`, `quote it: "${value}"`);
        }
        return this.report(path, 'value', `expected text, found ${describe(value)}`, 'write text');
      case ScalarType.BOOL:
        if (typeof value === 'boolean') return value;
        return this.report(path, 'value', `expected true or false, found ${describe(value)}`, boolFix(value));
      case ScalarType.BYTES:
        if (typeof value === 'string' && /^[A-Za-z0-9+/_-]*={0,2}$/.test(value)) return value;
        return this.report(path, 'value', 'expected bytes in base64', 'encode the bytes as base64');
      case ScalarType.DOUBLE:
      case ScalarType.FLOAT:
        if (typeof value === 'number' && Number.isFinite(value)) return value;
        return this.report(path, 'value', `expected a number, found ${describe(value)}`, numberFix(value));
      default:
        return this.#integer(type, value, path, range);
    }
  }

  #integer(type: ScalarType, value: unknown, path: string, range: Range): unknown {
    const text = typeof value === 'number' || typeof value === 'string' ? String(value) : '';
    if (!/^-?\d{1,20}$/.test(text)) {
      return this.report(path, 'value', `expected a whole number, found ${describe(value)}`, numberFix(value));
    }
    const [min, max] = INTEGER_RANGES[type] ?? INT64;
    const number = BigInt(text);
    if (number >= min && number <= max) return text;
    return this.report(
      path,
      'value',
      `${text} is out of range`,
      `write a number from ${range.min ?? min} to ${range.max ?? max}`,
    );
  }
}

const UINT32: readonly [bigint, bigint] = [0n, 0xffff_ffffn];
const INT32: readonly [bigint, bigint] = [-0x8000_0000n, 0x7fff_ffffn];
const UINT64: readonly [bigint, bigint] = [0n, 0xffff_ffff_ffff_ffffn];
const INT64: readonly [bigint, bigint] = [-0x8000_0000_0000_0000n, 0x7fff_ffff_ffff_ffffn];

const INTEGER_RANGES: Partial<Record<ScalarType, readonly [bigint, bigint]>> = {
  [ScalarType.UINT32]: UINT32,
  [ScalarType.FIXED32]: UINT32,
  [ScalarType.INT32]: INT32,
  [ScalarType.SINT32]: INT32,
  [ScalarType.SFIXED32]: INT32,
  [ScalarType.UINT64]: UINT64,
  [ScalarType.FIXED64]: UINT64,
};

function placeholder(type: ScalarType): JsonValue {
  if (type === ScalarType.STRING || type === ScalarType.BYTES) return '';
  return type === ScalarType.BOOL ? false : 0;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function describe(value: unknown): string {
  if (value === null || value === undefined) return 'nothing';
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'object') return 'a map';
  return typeof value === 'string' ? `the text ${JSON.stringify(value.slice(0, 40))}` : `the ${typeof value} ${value}`;
}

function fieldNames(desc: DescMessage): string {
  return desc.fields.map((f) => f.jsonName).join(', ');
}

function choices(fields: readonly DescField[]): string {
  return fields.map((f) => f.jsonName).join(', ');
}

function boolFix(value: unknown): string {
  if (typeof value !== 'string') return 'write `true` or `false`';
  if (/^(yes|on|true|y)$/i.test(value)) return 'write `true`';
  return /^(no|off|false|n)$/i.test(value) ? 'write `false`' : 'write `true` or `false`';
}

function numberFix(value: unknown): string {
  const digits = typeof value === 'string' ? /^\s*(\d+)\s*%?\s*$/.exec(value)?.[1] : undefined;
  return digits === undefined ? 'write a number' : `write \`${digits}\``;
}

/** Seconds of each unit that people write and proto3 JSON does not take. */
const UNIT_SECONDS: Readonly<Record<string, number>> = { ms: 0.001, s: 1, sec: 1, m: 60, min: 60, h: 3600 };

function durationFix(value: unknown): string {
  const written = typeof value === 'string' || typeof value === 'number' ? String(value) : '';
  const match = /^\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*$/.exec(written);
  const unit = match && UNIT_SECONDS[match[2] === '' ? 's' : (match[2] ?? '')];
  if (!match || !unit) return 'seconds with an s, such as `1.5s`';
  return `\`${Number((Number(match[1]) * unit).toFixed(9))}s\``;
}
