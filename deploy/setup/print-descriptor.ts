// Prints a file descriptor as .proto source. The build needs it because no npm package ships the text of
// buf/validate/validate.proto, only its descriptor; printed text compiles to the same descriptor, comments apart.
import type {
  DescEnum,
  DescExtension,
  DescField,
  DescFile,
  DescMessage,
  DescOneof,
  DescService,
  Message,
  Registry,
} from '@bufbuild/protobuf';
import { createRegistry, getExtension, isFieldSet, ScalarType } from '@bufbuild/protobuf';
import type { GenMessage } from '@bufbuild/protobuf/codegenv2';
import { reflect } from '@bufbuild/protobuf/reflect';
import { toText } from '@bufbuild/protobuf/txtpb';
import type { FieldDescriptorProto } from '@bufbuild/protobuf/wkt';
import {
  Edition,
  EnumOptionsSchema,
  EnumValueOptionsSchema,
  ExtensionRangeOptionsSchema,
  FieldDescriptorProto_Label,
  FieldDescriptorProto_Type,
  FieldDescriptorProtoSchema,
  FieldOptionsSchema,
  FileOptionsSchema,
  MessageOptionsSchema,
  MethodOptionsSchema,
  OneofOptionsSchema,
  ServiceOptionsSchema,
} from '@bufbuild/protobuf/wkt';

/** The largest field number, 2^29 - 1; a range that ends there is written `to max`. */
const FIELD_NUMBER_MAX = 536_870_911;
const ENUM_NUMBER_MAX = 2_147_483_647;

/**
 * The .proto text of a file: syntax, imports, options (custom ones too, when the file or `registry` knows their
 * extension), messages, enums, extensions and services, in the order of the descriptor.
 * Throws for a group, which no file since proto2 needs. Source: protobuf language specification, proto2/proto3/editions.
 */
export function printFile(file: DescFile, registry: Registry = createRegistry(file)): string {
  return new Printer(file, registry).print();
}

class Printer {
  private readonly file: DescFile;
  private readonly registry: Registry;
  private readonly lines: string[] = [];
  private depth = 0;

  constructor(file: DescFile, registry: Registry) {
    this.file = file;
    this.registry = registry;
  }

  print(): string {
    const { file } = this;
    this.line(syntaxLine(file));
    if (file.proto.package !== '') this.line(`package ${file.proto.package};`);
    file.proto.dependency.forEach((path, index) => {
      const kind = file.proto.publicDependency.includes(index) ? 'public ' : '';
      this.line(`import ${kind}${quote(path)};`);
    });
    this.options(FileOptionsSchema, file.proto.options);
    for (const item of file.enums) this.enum(item);
    for (const item of file.messages) this.message(item);
    for (const item of file.extensions) this.extension(item);
    for (const item of file.services) this.service(item);
    return `${this.lines.join('\n')}\n`;
  }

  private line(text: string): void {
    this.lines.push('  '.repeat(this.depth) + text);
  }

  private block(head: string, body: () => void): void {
    this.line(`${head} {`);
    this.depth++;
    body();
    this.depth--;
    this.line('}');
  }

  private message(message: DescMessage): void {
    this.block(`message ${message.name}`, () => {
      const { proto } = message;
      this.options(MessageOptionsSchema, proto.options);
      for (const range of proto.extensionRange) {
        const options = this.bracket(ExtensionRangeOptionsSchema, range.options, []);
        this.line(`extensions ${span(range.start, range.end - 1, FIELD_NUMBER_MAX)}${options};`);
      }
      for (const range of proto.reservedRange) {
        this.line(`reserved ${span(range.start, range.end - 1, FIELD_NUMBER_MAX)};`);
      }
      this.reservedNames(proto.reservedName);
      for (const item of message.nestedEnums) this.enum(item);
      for (const item of message.nestedMessages) this.message(item);
      for (const item of message.members) {
        if (item.kind === 'oneof') this.oneof(item);
        else this.field(item);
      }
      for (const item of message.nestedExtensions) this.extension(item);
    });
  }

  private oneof(oneof: DescOneof): void {
    this.block(`oneof ${oneof.name}`, () => {
      this.options(OneofOptionsSchema, oneof.proto.options);
      for (const field of oneof.fields) this.field(field);
    });
  }

  private extension(extension: DescExtension): void {
    this.block(`extend .${extension.extendee.typeName}`, () => this.field(extension));
  }

  private field(field: DescField | DescExtension): void {
    const { proto } = field;
    const extra: string[] = [];
    if (isFieldSet(proto, FieldDescriptorProtoSchema.field.defaultValue)) extra.push(`default = ${defaultText(proto)}`);
    const jsonName = proto.jsonName ?? '';
    if (field.kind === 'field' && jsonName !== '' && jsonName !== camelCase(proto.name)) {
      extra.push(`json_name = ${quote(jsonName)}`);
    }
    const options = this.bracket(FieldOptionsSchema, proto.options, extra);
    this.line(`${this.label(field)}${typeText(field)} ${proto.name} = ${proto.number}${options};`);
  }

  private label(field: DescField | DescExtension): string {
    const { proto } = field;
    if (field.fieldKind === 'map' || (field.kind === 'field' && field.oneof !== undefined)) return '';
    if (proto.label === FieldDescriptorProto_Label.REPEATED) return 'repeated ';
    if (this.file.edition !== Edition.EDITION_PROTO2) return proto.proto3Optional ? 'optional ' : '';
    return proto.label === FieldDescriptorProto_Label.REQUIRED ? 'required ' : 'optional ';
  }

  private enum(item: DescEnum): void {
    this.block(`enum ${item.name}`, () => {
      this.options(EnumOptionsSchema, item.proto.options);
      for (const range of item.proto.reservedRange) {
        this.line(`reserved ${span(range.start, range.end, ENUM_NUMBER_MAX)};`);
      }
      this.reservedNames(item.proto.reservedName);
      for (const value of item.values) {
        this.line(`${value.name} = ${value.number}${this.bracket(EnumValueOptionsSchema, value.proto.options, [])};`);
      }
    });
  }

  private service(service: DescService): void {
    this.block(`service ${service.name}`, () => {
      this.options(ServiceOptionsSchema, service.proto.options);
      for (const method of service.methods) {
        const input = `${method.proto.clientStreaming ? 'stream ' : ''}.${method.input.typeName}`;
        const output = `${method.proto.serverStreaming ? 'stream ' : ''}.${method.output.typeName}`;
        const head = `rpc ${method.name}(${input}) returns (${output})`;
        if (method.proto.options === undefined) this.line(`${head};`);
        else this.block(head, () => this.options(MethodOptionsSchema, method.proto.options));
      }
    });
  }

  private reservedNames(names: string[]): void {
    if (names.length === 0) return;
    const quoted = this.file.edition < Edition.EDITION_2023;
    this.line(`reserved ${names.map((name) => (quoted ? quote(name) : name)).join(', ')};`);
  }

  private options<T extends Message>(schema: GenMessage<T>, options: T | undefined): void {
    for (const option of this.assignments(schema, options)) this.line(`option ${option};`);
  }

  private bracket<T extends Message>(schema: GenMessage<T>, options: T | undefined, extra: string[]): string {
    const all = [...extra, ...this.assignments(schema, options)];
    return all.length === 0 ? '' : ` [${all.join(', ')}]`;
  }

  /** `name = value` for each set option. A message goes through text format, whose `name: value` the literal wraps. */
  private assignments<T extends Message>(schema: GenMessage<T>, options: T | undefined): string[] {
    if (options === undefined) return [];
    const known = reflect(schema, options);
    const out: string[] = [];
    for (const field of known.sortedFields) {
      if (!known.isSet(field)) continue;
      const bare = { ...options, $unknown: [] };
      for (const other of known.sortedFields) if (other !== field) reflect(schema, bare).clear(other);
      out.push(...textAssignments(toText(schema, bare, { registry: this.registry })));
    }
    const numbers = new Set((options.$unknown ?? []).map((unknown) => unknown.no));
    for (const number of numbers) {
      const extension = this.registry.getExtensionFor(schema, number);
      if (extension === undefined) continue;
      const name = `(.${extension.typeName})`;
      const value: unknown = getExtension(options, extension);
      const items = Array.isArray(value) ? value : [value];
      for (const item of items) out.push(`${name} = ${this.literal(extension, item)}`);
    }
    return out;
  }

  private literal(extension: DescExtension, value: unknown): string {
    if (extension.message !== undefined) {
      const text = toText(extension.message, value as Message, { registry: this.registry });
      return `{ ${text.trim().split('\n').join(' ')} }`;
    }
    if (extension.enum !== undefined) return extension.enum.value[value as number]?.name ?? String(value);
    return typeof value === 'string' ? quote(value) : String(value);
  }
}

/** One option in text format (`name: value`, or `name: {` and lines, or a line for each element) as assignments. */
function textAssignments(text: string): string[] {
  const lines = text.trim().split('\n');
  const equals = (line: string) => line.replace(/^([a-z0-9_]+): /, '$1 = ');
  return lines[0]?.endsWith('{') ? [equals(lines.join(' '))] : lines.map(equals);
}

function syntaxLine(file: DescFile): string {
  if (file.edition === Edition.EDITION_PROTO3) return 'syntax = "proto3";';
  if (file.edition === Edition.EDITION_PROTO2) return 'syntax = "proto2";';
  return `edition = "${Edition[file.edition].replace('EDITION_', '')}";`;
}

function typeText(field: DescField | DescExtension): string {
  if (field.proto.type === FieldDescriptorProto_Type.GROUP)
    throw new Error(`${field.toString()} is a group: write it as a message`);
  if (field.fieldKind === 'map') {
    const value =
      field.mapKind === 'message'
        ? `.${field.message.typeName}`
        : field.mapKind === 'enum'
          ? `.${field.enum.typeName}`
          : scalar(field.scalar);
    return `map<${scalar(field.mapKey)}, ${value}>`;
  }
  if (field.message !== undefined) return `.${field.message.typeName}`;
  if (field.enum !== undefined) return `.${field.enum.typeName}`;
  return scalar(field.scalar);
}

function scalar(type: ScalarType | undefined): string {
  return ScalarType[type ?? ScalarType.STRING].toLowerCase();
}

function defaultText(proto: FieldDescriptorProto): string {
  const text = proto.defaultValue ?? '';
  // Bytes come with their escapes, strings without (descriptor.proto, FieldDescriptorProto.default_value).
  if (proto.type === FieldDescriptorProto_Type.BYTES) return `"${text}"`;
  return proto.type === FieldDescriptorProto_Type.STRING ? quote(text) : text;
}

function span(start: number, end: number, max: number): string {
  if (start === end) return String(start);
  return `${start} to ${end === max ? 'max' : end}`;
}

/** The JSON name protoc derives from a field name; only another one needs to be written. */
function camelCase(name: string): string {
  return name.replace(/_+([a-z0-9])?/gi, (_, letter: string | undefined) => letter?.toUpperCase() ?? '');
}

function quote(text: string): string {
  return JSON.stringify(text);
}
