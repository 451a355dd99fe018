// Field names that begin with `x-weft-` are what sidecars say, as `x-weft-error` of an answer. Nothing here reads one of a
// request; a caller that nobody knows must not write one either, so that no application and no later version takes it
// for a sidecar's word (CVE-2024-45806: internal headers of strangers).

import type { HeaderList } from '../wire/headers.ts';

const PREFIX = 'x-weft-';

/** Removes them from the head of a caller without an identity. */
export function removeReserved(headers: HeaderList): void {
  for (let i = 0; i < headers.length; i += 2) {
    if (!(headers[i] as string).startsWith(PREFIX)) continue;
    headers.splice(i, 2);
    i -= 2;
  }
}
