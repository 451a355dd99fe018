// Checks header edits once, so that no policy can break framing or smuggle a request through a header value.

import type { HeaderEdit } from '../../../proto/gen/weft/policy/v1/route_pb.js';
import { headerNameMistake, headerValueMistake } from '../../../proto/kit/http-words.ts';
import type { CompileError } from '../../config/compile-match.ts';
import { report, reportUnknown } from '../../config/compile-match.ts';
import type { CompiledHeaderEdit } from './run.ts';

/** Compiles a header edit; null after reporting bad names, bad values or unknown fields. */
export function compileHeaderEdit(edit: HeaderEdit, path: string, errors: CompileError[]): CompiledHeaderEdit | null {
  const before = errors.length;
  reportUnknown(edit, path, errors);
  const set = compileFields(edit.set, `${path}.set`, errors);
  const add = compileFields(edit.add, `${path}.add`, errors);
  const remove = edit.remove.map((name, i) => checkName(name, `${path}.remove[${i}]`, errors));
  return errors.length > before ? null : { remove, set, add };
}

function compileFields(fields: Readonly<Record<string, string>>, path: string, errors: CompileError[]): string[] {
  const flat: string[] = [];
  for (const [name, value] of Object.entries(fields)) {
    const at = `${path}[${JSON.stringify(name)}]`;
    flat.push(checkName(name, at, errors), value);
    report(headerValueMistake(value), at, errors);
  }
  return flat;
}

function checkName(name: string, path: string, errors: CompileError[]): string {
  report(headerNameMistake(name, 'edit'), path, errors);
  return name.toLowerCase();
}
