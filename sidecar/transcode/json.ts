// Builds the JSON of a request message from body, path variables and query, and says where it is wrong.

import {
  type DescField,
  type DescMessage,
  fromJson,
  type JsonObject,
  type JsonValue,
  type Registry,
  ScalarType,
  toBinary,
} from '@bufbuild/protobuf';
import { isObject } from '../../proto/kit/is-object.ts';
import { findField, type Match } from '../../proto/kit/transcoded-methods.ts';
import { isShallowJson } from '../base/json-depth.ts';
import { LIMITS } from '../base/limits.ts';
import { type ExactJson, parseExact, settleIntegers } from './json-text.ts';

const MESSAGES_TOO_DEEP = `more than ${LIMITS.messageDepthMax} messages in each other`;

/** What the client must correct: the field's path (empty: the body as a whole) and why. */
export interface JsonFault {
  field: string;
  message: string;
}

const TOO_DEEP: JsonFault = { field: '', message: `the request is nested deeper than ${LIMITS.jsonDepthMax} levels` };

/** The request message in protobuf's bytes. @param query without `?`. */
export function encodeRequest(
  match: Match,
  query: string,
  body: Uint8Array,
  registry: Registry,
): Uint8Array | JsonFault {
  const { method, template, body: bodyField } = match.binding;
  let root: JsonObject = {};
  if (bodyField !== '' && body.length > 0) {
    if (!isShallowJson(body)) return TOO_DEEP;
    const json = parse(method.input, bodyField, body);
    if ('message' in json) return json;
    root = json.root;
  }
  if (bodyField !== '*' && query !== '') {
    for (const [name, value] of new URLSearchParams(query)) {
      const path = name.split('.');
      if (path.length > LIMITS.jsonDepthMax) return TOO_DEEP;
      const fault = place(root, method.input, path, value);
      if (fault !== null) return { field: name, message: fault };
    }
  }
  for (const [i, { path }] of template.variables.entries()) {
    const fault = place(root, method.input, path, match.values[i] ?? '');
    if (fault !== null) return { field: path.join('.'), message: fault };
  }
  try {
    return toBinary(method.input, fromJson(method.input, root, { registry }));
  } catch (error) {
    return new Locator(registry).locate(method.input, root, '', 1) ?? { field: '', message: reason(error) };
  }
}

/** The body as the message's JSON, or as that of its one field which the body is. */
function parse(input: DescMessage, bodyField: string, body: Uint8Array): { root: JsonObject } | JsonFault {
  let json: ExactJson;
  try {
    json = parseExact(new TextDecoder('utf-8', { fatal: true }).decode(body));
    if (bodyField !== '*') json = { [jsonName(input, bodyField)]: json };
    if (isObject(json)) return { root: settleIntegers(json as ExactJson, input) as JsonObject };
    return { field: '', message: 'the body must be a JSON object' };
  } catch {
    return { field: '', message: 'the body is not valid JSON in UTF-8' };
  }
}

/** Sets one value from text. Protobuf's JSON takes numbers and enums as text, but not bools. */
function place(root: JsonObject, message: DescMessage, path: string[], text: string): string | null {
  const fields = findField(message, path);
  const last = fields?.at(-1);
  if (fields === null || last === undefined) return 'no such field';
  let at = root;
  for (const field of fields.slice(0, -1)) {
    const key = keyIn(at, field);
    const inner = at[key];
    if (isObject(inner)) at = inner as JsonObject;
    else at = at[key] = {};
  }
  const value = scalar(last, text);
  if (value === undefined) return 'not a value that a path or query can hold';
  const key = keyIn(at, last);
  const before = at[key];
  if (last.fieldKind !== 'list') at[key] = value;
  else if (Array.isArray(before)) before.push(value);
  else at[key] = [value];
  return null;
}

function scalar(field: DescField, text: string): JsonValue | undefined {
  // Well-known types such as Timestamp and the wrappers are text in JSON.
  if (field.message !== undefined && !field.message.typeName.startsWith('google.protobuf.')) return undefined;
  if (field.fieldKind === 'map') return undefined;
  const bool = field.scalar === ScalarType.BOOL || field.message?.typeName === 'google.protobuf.BoolValue';
  if (bool && (text === 'true' || text === 'false')) return text === 'true';
  if (field.enum !== undefined && /^-?\d+$/.test(text)) return Number(text);
  return text;
}

/** A body may spell a field either way; a path variable must replace it, not stand beside it. */
function keyIn(object: JsonObject, field: DescField): string {
  return Object.hasOwn(object, field.name) ? field.name : field.jsonName;
}

function jsonName(message: DescMessage, name: string): string {
  return findField(message, [name])?.[0]?.jsonName ?? name;
}

/** Finds the first field that cannot be read, each value being read once and alone. Slow path: only for a request that is wrong. */
class Locator {
  private readonly registry: Registry;
  private left: number = LIMITS.locatedValuesMax;

  constructor(registry: Registry) {
    this.registry = registry;
  }

  /** @param depth of `json`, the body being 1. Null: nothing that is wrong by itself, or not among the first values. */
  locate(message: DescMessage, json: JsonObject, path: string, depth: number): JsonFault | null {
    if (depth > LIMITS.messageDepthMax) return { field: shortened(path), message: MESSAGES_TOO_DEEP };
    for (const [key, value] of Object.entries(json)) {
      if (this.left-- <= 0) return null;
      const at = path === '' ? key : `${path}.${key}`;
      const field = findField(message, [key])?.[0];
      const fault =
        field === undefined
          ? { field: shortened(at), message: 'no such field' }
          : this.inField(message, field, key, value, at, depth);
      if (fault !== null) return fault;
    }
    return null;
  }

  private inField(
    message: DescMessage,
    field: DescField,
    key: string,
    value: JsonValue,
    at: string,
    depth: number,
  ): JsonFault | null {
    const inner = field.message?.typeName.startsWith('google.protobuf.') ? undefined : field.message;
    if (inner !== undefined && field.fieldKind === 'message' && isObject(value))
      return this.locate(inner, value as JsonObject, at, depth + 1);
    if (inner !== undefined && field.fieldKind === 'list' && Array.isArray(value)) {
      for (const [i, element] of value.entries()) {
        if (this.left-- <= 0) return null;
        const fault = isObject(element)
          ? this.locate(inner, element as JsonObject, `${at}[${i}]`, depth + 1)
          : this.alone(message, key, [element], `${at}[${i}]`);
        if (fault !== null) return fault;
      }
      return null;
    }
    return this.alone(message, key, value, at);
  }

  private alone(message: DescMessage, key: string, value: JsonValue, at: string): JsonFault | null {
    try {
      fromJson(message, { [key]: value }, { registry: this.registry });
      return null;
    } catch (error) {
      return { field: shortened(at), message: reason(error) };
    }
  }
}

/** The end of a path, which is where the client looks; the answer must not grow with the request. */
function shortened(path: string): string {
  return path.length <= LIMITS.faultPathCharsMax ? path : `...${path.slice(-LIMITS.faultPathCharsMax)}`;
}

function reason(error: unknown): string {
  return error instanceof Error ? error.message : 'not readable';
}
