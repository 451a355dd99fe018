// HOT: adds, sets and removes header fields as a route says.

import type { HeaderList } from '../../wire/headers.ts';
import { removeHeader, setHeader } from '../../wire/headers.ts';

/** Flat lists, as in a HeaderList; names are lower-case and checked. */
export interface CompiledHeaderEdit {
  readonly remove: readonly string[];
  readonly set: readonly string[];
  readonly add: readonly string[];
}

/** Edits in place: remove, then set, then add, so that one filter can replace all values of a name. */
export function applyHeaderEdit(edit: CompiledHeaderEdit, headers: HeaderList): void {
  for (const name of edit.remove) removeHeader(headers, name);
  for (let i = 0; i < edit.set.length; i += 2) setHeader(headers, edit.set[i] as string, edit.set[i + 1] as string);
  for (let i = 0; i < edit.add.length; i += 2) headers.push(edit.add[i] as string, edit.add[i + 1] as string);
}
