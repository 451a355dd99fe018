// Checks header edits once, so that no policy can break framing or smuggle a request through a header value.

import type { HeaderEdit } from '../../../proto/gen/weft/policy/v1/route_pb.js';
import type { CompileError } from '../../config/compile-match.ts';
import { reportUnknown } from '../../config/compile-match.ts';
import type { CompiledHeaderEdit } from './run.ts';

/** Fields that belong to the codecs: framing, hop by hop (RFC 9110 §7.6.1), and what `rewrite.host` is for. */
const CODEC_FIELDS: ReadonlySet<string> = new Set([
  'connection',
  'content-length',
  'host',
  'keep-alive',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);

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
    // RFC 9110 §5.5: visible characters, space and tab; no white space around.
    if (!/^(?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?$/.test(value)) {
      errors.push({
        path: at,
        message: 'not a header value: no control characters, none beyond Latin-1, no spaces around',
      });
    }
  }
  return flat;
}

function checkName(name: string, path: string, errors: CompileError[]): string {
  const lower = name.toLowerCase();
  if (!/^[!#$%&'*+.^_`|~0-9a-z-]{1,256}$/.test(lower))
    errors.push({ path, message: 'not a header name (RFC 9110 §5.1)' });
  else if (CODEC_FIELDS.has(lower))
    errors.push({ path, message: `${lower} is set by the protocol and cannot be edited` });
  return lower;
}
