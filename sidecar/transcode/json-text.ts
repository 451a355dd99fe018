// Reads the JSON of a message without losing digits. JSON.parse makes doubles of all numbers, so that the int64
// 9007199254740993 becomes its neighbour; protobuf's JSON mapping takes such an integer as a number or as text.

import type { DescField, DescMessage, JsonObject, JsonValue } from '@bufbuild/protobuf';
import { ScalarType } from '@bufbuild/protobuf';
import { findField } from '../../proto/kit/transcoded-methods.ts';

/** A JSON value of which integers that no double holds are kept as they were written, until `settleIntegers`. */
export type ExactJson = JsonValue | bigint | ExactJson[] | { [key: string]: ExactJson };

/** Fewer digits always fit into a double (2^53 has 16); most bodies have no such number and are parsed at once. */
const LONG_DIGITS = /\d{16}/;
/** Digits of the largest uint64, and a sign: what is longer is out of range for every field, and BigInt of megabytes is slow. */
const INTEGER = /^-?\d{16,20}$/;

const INTEGERS: ReadonlySet<ScalarType> = new Set([
  ScalarType.INT64,
  ScalarType.UINT64,
  ScalarType.SINT64,
  ScalarType.FIXED64,
  ScalarType.SFIXED64,
]);
const INTEGER_WRAPPERS: ReadonlySet<string> = new Set(['google.protobuf.Int64Value', 'google.protobuf.UInt64Value']);

/** @throws SyntaxError for what is no JSON. */
export function parseExact(text: string): ExactJson {
  if (!LONG_DIGITS.test(text)) return JSON.parse(text) as JsonValue;
  return JSON.parse(text, keepInteger) as ExactJson;
}

/** A reviver; the types lack its third parameter (ECMAScript 2026, "JSON.parse source text access"). */
function keepInteger(_key: string, value: ExactJson, context: { readonly source?: string } = {}): ExactJson {
  const { source = '' } = context;
  return typeof value === 'number' && !Number.isSafeInteger(value) && INTEGER.test(source) ? BigInt(source) : value;
}

/** JSON for `fromJson`: what was kept becomes text where a field has 64 bits, and the nearest double everywhere else. */
export function settleIntegers(json: ExactJson, message: DescMessage): JsonValue {
  if (typeof json === 'bigint') return INTEGER_WRAPPERS.has(message.typeName) ? String(json) : Number(json);
  if (!isExactObject(json)) return json as JsonValue;
  const settled: JsonObject = {};
  for (const [key, value] of Object.entries(json)) {
    const field = findField(message, [key])?.[0];
    put(settled, key, field === undefined ? rounded(value) : settleField(value, field));
  }
  return settled;
}

function settleField(json: ExactJson, field: DescField): JsonValue {
  if (field.fieldKind === 'list' && Array.isArray(json)) return json.map((element) => settleValue(element, field));
  if (field.fieldKind !== 'map' || !isExactObject(json)) return settleValue(json, field);
  const settled: JsonObject = {};
  for (const [key, value] of Object.entries(json)) put(settled, key, settleValue(value, field));
  return settled;
}

/** One value, element or map value of `field`. */
function settleValue(json: ExactJson, { message, scalar }: DescField): JsonValue {
  // A Struct and its like have a JSON of their own, in which every number is a double.
  if (message !== undefined) return isOwnJson(message) ? rounded(json) : settleIntegers(json, message);
  return typeof json === 'bigint' && scalar !== undefined && INTEGERS.has(scalar) ? String(json) : rounded(json);
}

function isOwnJson({ typeName }: DescMessage): boolean {
  return typeName.startsWith('google.protobuf.') && !INTEGER_WRAPPERS.has(typeName);
}

function rounded(json: ExactJson): JsonValue {
  if (typeof json === 'bigint') return Number(json);
  if (Array.isArray(json)) return json.map(rounded);
  if (!isExactObject(json)) return json as JsonValue;
  const settled: JsonObject = {};
  for (const [key, value] of Object.entries(json)) put(settled, key, rounded(value));
  return settled;
}

function isExactObject(json: ExactJson): json is { [key: string]: ExactJson } {
  return typeof json === 'object' && json !== null && !Array.isArray(json);
}

/** An own member whatever its name: `__proto__` is a field that no message has, and is refused as such. */
function put(object: JsonObject, key: string, value: JsonValue): void {
  Object.defineProperty(object, key, { value, writable: true, enumerable: true, configurable: true });
}
