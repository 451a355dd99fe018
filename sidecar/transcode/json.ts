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

/** What the client must correct: the field's path (empty: the body as a whole) and why. */
export interface JsonFault {
  field: string;
  message: string;
}

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
    let json: JsonValue;
    try {
      json = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body));
    } catch {
      return { field: '', message: 'the body is not valid JSON in UTF-8' };
    }
    if (bodyField !== '*') root = { [jsonName(method.input, bodyField)]: json };
    else if (isObject(json)) root = json as JsonObject;
    else return { field: '', message: 'the body must be a JSON object' };
  }
  if (bodyField !== '*' && query !== '') {
    for (const [name, value] of new URLSearchParams(query)) {
      const fault = place(root, method.input, name.split('.'), value);
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
    return locate(method.input, root, '', registry) ?? { field: '', message: reason(error) };
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

/** The first field that cannot be read, found by reading each alone. Slow path: only for a request that is wrong. */
function locate(message: DescMessage, json: JsonValue, path: string, registry: Registry): JsonFault | null {
  if (!isObject(json) || message.typeName.startsWith('google.protobuf.')) return null;
  for (const [key, value] of Object.entries(json as JsonObject)) {
    const at = path === '' ? key : `${path}.${key}`;
    try {
      fromJson(message, { [key]: value }, { registry });
    } catch (error) {
      const field = findField(message, [key])?.[0];
      if (field === undefined) return { field: at, message: 'no such field' };
      if (field.message === undefined) return { field: at, message: reason(error) };
      const inner = field.message;
      if (field.fieldKind !== 'list' || !Array.isArray(value)) {
        return (
          (field.fieldKind === 'message' ? locate(inner, value, at, registry) : null) ?? {
            field: at,
            message: reason(error),
          }
        );
      }
      for (const [i, element] of value.entries()) {
        const fault = locate(inner, element, `${at}[${i}]`, registry);
        if (fault !== null) return fault;
      }
      return { field: at, message: reason(error) };
    }
  }
  return null;
}

function reason(error: unknown): string {
  return error instanceof Error ? error.message : 'not readable';
}
