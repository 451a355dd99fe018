// Which unary gRPC method an HTTP request means: compiled from a FileDescriptorSet when config changes. Every method
// is `POST /package.Service/Method` with its request as the body, and what its google.api.http annotations say.

import {
  createFileRegistry,
  type DescField,
  type DescMessage,
  type DescMethod,
  type FileRegistry,
  fromBinary,
  getExtension,
  hasExtension,
} from '@bufbuild/protobuf';
import { FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt';
import { isObject } from './is-object.ts';
import { compileTemplate, matchTemplate, type Template } from './path-template.ts';

/** One way to call a method. */
interface Binding {
  method: DescMethod;
  httpMethod: string;
  template: Template;
  /** `*`: the body is the request. A field's name: the body is that field. Empty: no body. */
  body: string;
  /** The field of the response that is the body; empty: all of it. */
  responseBody: string;
}

/** All methods of a descriptor set; immutable. */
export interface MethodIndex {
  registry: FileRegistry;
  /** By HTTP method; most literal segments first. */
  bindings: Map<string, Binding[]>;
}

/** A request's binding and the values of its path variables. */
export interface Match {
  binding: Binding;
  values: string[];
}

/** Compiles the bytes of a google.protobuf.FileDescriptorSet that includes its imports. Returns every mistake, with the method it is about. Streaming methods are left out: JSON over HTTP has no form for them here. */
export function compileMethods(descriptorSet: Uint8Array): MethodIndex | { errors: string[] } {
  let registry: FileRegistry;
  try {
    registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, descriptorSet));
  } catch (error) {
    return { errors: [`not a FileDescriptorSet with its imports: ${(error as Error).message}`] };
  }
  const errors: string[] = [];
  const bindings = new Map<string, Binding[]>();
  const add = (method: DescMethod, httpMethod: string, path: string, body: string, responseBody: string) => {
    const name = `${method.parent.typeName}.${method.name}`;
    const template = compileTemplate(path);
    if (typeof template === 'string') return errors.push(`${name}: ${template}`);
    for (const { path: field } of template.variables) {
      if (findField(method.input, field) === null)
        errors.push(`${name}: ${method.input.typeName} has no field ${field.join('.')}`);
    }
    if (body !== '' && body !== '*' && findField(method.input, [body]) === null)
      errors.push(`${name}: body '${body}' is not a field`);
    if (responseBody !== '' && findField(method.output, [responseBody]) === null)
      errors.push(`${name}: response_body '${responseBody}' is not a field`);
    const list = bindings.get(httpMethod) ?? [];
    const twin = list.find((other) => other.template.pattern.source === template.pattern.source);
    if (twin !== undefined)
      return errors.push(
        `${name}: ${httpMethod} ${path} is already ${twin.method.parent.typeName}.${twin.method.name}`,
      );
    list.push({ method, httpMethod, template, body, responseBody });
    bindings.set(httpMethod, list);
    return 0;
  };
  for (const type of registry) {
    if (type.kind !== 'service') continue;
    for (const method of type.methods) {
      if (method.methodKind !== 'unary') continue;
      add(method, 'POST', `/${type.typeName}/${method.name}`, '*', '');
      for (const rule of rulesOf(registry, method)) {
        if (rule.httpMethod === '')
          errors.push(`${type.typeName}.${method.name}: its google.api.http rule has no method`);
        else add(method, rule.httpMethod, rule.path, rule.body, rule.responseBody);
      }
    }
  }
  if (errors.length > 0) return { errors };
  for (const list of bindings.values()) list.sort((a, b) => b.template.literals - a.template.literals);
  return { registry, bindings };
}

/** @param path without the query. */
export function matchMethod(index: MethodIndex, httpMethod: string, path: string): Match | null {
  for (const binding of index.bindings.get(httpMethod) ?? []) {
    const values = matchTemplate(binding.template, path);
    if (values !== null) return { binding, values };
  }
  return null;
}

/** The fields along a path of names as in the .proto or in JSON; null when one is unknown, or stands inside a scalar or a list. */
export function findField(message: DescMessage, path: string[]): DescField[] | null {
  const found: DescField[] = [];
  let at: DescMessage | undefined = message;
  for (const name of path) {
    const field: DescField | undefined = at?.fields.find((one) => one.name === name || one.jsonName === name);
    if (field === undefined) return null;
    found.push(field);
    at = field.fieldKind === 'message' ? field.message : undefined;
  }
  return found;
}

interface Rule {
  httpMethod: string;
  path: string;
  body: string;
  responseBody: string;
}

/** The annotation's type comes from the set itself, so that we need no generated copy of google/api. */
function rulesOf(registry: FileRegistry, method: DescMethod): Rule[] {
  const extension = registry.getExtension('google.api.http');
  const options = method.proto.options;
  if (extension === undefined || options === undefined || !hasExtension(options, extension)) return [];
  const value: unknown = getExtension(options, extension);
  if (!isObject(value)) return [];
  const more = Array.isArray(value['additionalBindings']) ? value['additionalBindings'] : [];
  return [value, ...more.filter(isObject)].map(ruleOf);
}

function ruleOf(rule: Record<string, unknown>): Rule {
  const pattern = isObject(rule['pattern']) ? rule['pattern'] : {};
  const kind = String(pattern['case'] ?? '');
  const value = pattern['value'];
  const custom = kind === 'custom' && isObject(value) ? value : null;
  return {
    httpMethod: custom === null ? kind.toUpperCase() : String(custom['kind']),
    path: String(custom === null ? value : custom['path']),
    body: String(rule['body'] ?? ''),
    responseBody: String(rule['responseBody'] ?? ''),
  };
}
