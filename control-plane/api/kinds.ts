// What can be listed, and how people may write it. Kubernetes taught everybody `get services` and `get service`, so
// both mean Service here.

import { nearest } from '../../proto/kit/nearest.ts';
import { SCHEMAS } from '../model/resource.ts';

/** Kinds of ListResources: the policies, the workloads that registered, and who is revoked. */
export const LISTED_KINDS: readonly string[] = [...Object.keys(SCHEMAS), 'Endpoint', 'Revocation'];

/** Plurals that are not the kind with an `s`. */
const PLURALS: Readonly<Record<string, string>> = { Telemetry: 'telemetries' };

/** kubectl's short names. */
const SHORT: readonly (readonly [string, string])[] = [
  ['svc', 'Service'],
  ['ep', 'Endpoint'],
];

/** Every spelling, in lower case, of each kind. */
const SPELLINGS: ReadonlyMap<string, string> = new Map([
  ...LISTED_KINDS.flatMap((kind): [string, string][] => [
    [kind.toLowerCase(), kind],
    [plural(kind), kind],
  ]),
  ...SHORT,
]);

/** The kind that `text` means, in the singular, the plural or kubectl's short form, in any case; null: none. */
export function findKind(text: string): string | null {
  return SPELLINGS.get(text.toLowerCase()) ?? null;
}

/** Why `text` is no kind, and what to write. */
export function unknownKind(text: string): string {
  const close = nearest(text, SPELLINGS.keys());
  const kind = close === undefined ? undefined : SPELLINGS.get(close);
  const help = kind === undefined ? `write one of ${LISTED_KINDS.join(', ')}` : `did you mean ${kind}?`;
  return `there is no kind ${JSON.stringify(text)}; ${help}`;
}

/** `services`, as commands in messages say it. */
export function plural(kind: string): string {
  return PLURALS[kind] ?? `${kind.toLowerCase()}s`;
}
