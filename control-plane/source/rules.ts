// The rules written in the .proto files, held against a message; each broken one as a field path, what is wrong and a fix.
import type { DescField, DescMessage, Message } from '@bufbuild/protobuf';
import { getOption } from '@bufbuild/protobuf';
import type { Violation } from '@bufbuild/protovalidate';
import { createValidator } from '@bufbuild/protovalidate';
import { field as fieldRules } from '../../proto/gen/buf/validate/validate_pb.js';
import { joinPath } from '../model/field-path.ts';

/** One broken rule. */
export interface BrokenRule {
  /** In proto3 JSON names, e.g. `spec.ports[0].port`. */
  readonly fieldPath: string;
  readonly message: string;
  readonly fix: string;
}

/** What the rules of a number leave of its type's range. */
export interface Range {
  readonly min?: number;
  readonly max?: number;
}

const validator = createValidator();

/** The range that a rule of the .proto gives a uint32, such as a port; empty where it gives none. */
export function rangeOf(desc: DescField): Range {
  const { type } = getOption(desc, fieldRules);
  if (type.case !== 'uint32') return {};
  const { greaterThan, lessThan } = type.value;
  return {
    ...(greaterThan.case === 'gte' && { min: greaterThan.value }),
    ...(lessThan.case === 'lte' && { max: lessThan.value }),
  };
}

/** Every rule of `schema` that `message` breaks. Throws only where the rules themselves do not compile: a bug. */
export function violationsOf(schema: DescMessage, message: Message): BrokenRule[] {
  const result = validator.validate(schema, message);
  if (result.kind === 'valid') return [];
  if (result.kind === 'error') throw result.error;
  return result.violations.map(broken);
}

function broken(violation: Violation): BrokenRule {
  let fieldPath = '';
  let oneofNames = '';
  let leaf = 'it';
  for (const part of violation.field) {
    switch (part.kind) {
      case 'list_sub':
        fieldPath = joinPath(fieldPath, part.index);
        break;
      case 'map_sub':
        fieldPath = joinPath(fieldPath, String(part.key));
        break;
      case 'oneof':
        oneofNames = part.fields.map((f) => f.jsonName).join(', ');
        break;
      default:
        leaf = part.kind === 'field' ? part.jsonName : part.name;
        fieldPath = joinPath(fieldPath, leaf);
    }
  }
  if (oneofNames !== '') return { fieldPath, message: 'nothing is chosen here', fix: `write one of ${oneofNames}` };
  const message = violation.message === '' ? `breaks the rule ${violation.ruleId}` : violation.message;
  return { fieldPath, message, fix: fixFor(violation, leaf) };
}

function fixFor(violation: Violation, leaf: string): string {
  const enumField = violation.field.findLast((part) => part.kind === 'field');
  switch (violation.ruleId) {
    case 'required':
    case 'string.min_len':
    case 'bytes.min_len':
      if (violation.field.at(-1)?.kind === 'list_sub') return 'write something, or remove it';
      return `add \`${leaf}\``;
    case 'repeated.min_items':
      return `list at least one under \`${leaf}\``;
    case 'repeated.max_items':
    case 'map.max_pairs':
      return 'split the resource in two';
    case 'repeated.unique':
      return 'remove the one that is there twice';
    case 'enum.not_in': {
      const list = enumField?.fieldKind === 'list' && enumField.listKind === 'enum';
      const desc = enumField?.fieldKind === 'enum' || list ? enumField.enum : undefined;
      const prefix = desc?.sharedPrefix?.toUpperCase() ?? '';
      const names = desc?.values.filter((v) => v.number !== 0).map((v) => v.name.slice(prefix.length)) ?? [];
      return list ? `write one of ${names.join(', ')}` : `add \`${leaf}\`: one of ${names.join(', ')}`;
    }
    case 'string.pattern':
      if (leaf === 'method') return 'write it in capitals, such as `GET`';
      if (leaf === 'baseUrl') return 'write a whole URL, such as https://api.example.com/v1';
      if (leaf === 'env') return 'write the name of a variable: letters, digits and _, with no digit first';
      return leaf === 'name' || leaf === 'namespace' || leaf === 'serviceAccounts'
        ? 'use lower-case letters, digits and -, with a letter or digit at both ends'
        : `write ${leaf} in the form ${violation.message.replace(/^.*pattern /, '')}`;
    case 'string.prefix':
      return `start it with ${violation.message.replace(/^.*prefix /, '')}`;
    case 'string.ip':
      return 'write an IPv4 or IPv6 address; a name belongs under `dns`';
    case 'string.hostname':
      return 'write a host name without scheme or port';
    case 'string.uri':
      return 'write a whole URL, such as https://api.example.com/v1';
    case 'route_match.grpc_alone':
      return 'remove path and method, or grpc';
    default:
      return `write a value for \`${leaf}\` that ${violation.message.replace(/^(value )?must be/, 'is').replace(/^(value )?must have/, 'has')}`;
  }
}
