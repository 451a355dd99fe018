// Field names with underscores. CGI, WSGI, Rack and PHP hand `x-forwarded-for` and `x_forwarded_for` to an application as the
// same variable, so that a name with an underscore can speak in place of one that a sidecar vouches for. Envoy's edge guide
// refuses them (its default lets them in), nginx drops them.
//
// The decision: from callers without an identity they are refused, as at an edge. Between sidecars they pass, since
// applications use them for names of their own, but for those that would be read as the field by which a sidecar tells who
// calls. Outbound it is the own application that speaks, and codecs keep to what the grammar allows (RFC 9110 §5.1).

import { ProxyError } from '../wire/error.ts';
import type { HeaderList } from '../wire/headers.ts';

/** What TLS proved of the caller, in Envoy's words. */
export const CLIENT_CERT = 'x-forwarded-client-cert';

const UNDERSCORE = new ProxyError(
  'malformed',
  'downstream',
  'a field name has an underscore, which applications may take for a hyphen: write the hyphen',
);

/** Whether this is the error of {@link refuseUnderscores}, which is counted under a reason of its own. */
export function isUnderscore(error: ProxyError): boolean {
  return error === UNDERSCORE;
}

/** Of a caller without an identity: why its head is refused, or null. */
export function refuseUnderscores(headers: HeaderList): ProxyError | null {
  for (let i = 0; i < headers.length; i += 2) if ((headers[i] as string).includes('_')) return UNDERSCORE;
  return null;
}

/** Removes the fields that applications may take for {@link CLIENT_CERT}. */
export function removeAliases(headers: HeaderList): void {
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] as string;
    // The length first: it is a number that is there, and few names have this one.
    if (name.length !== CLIENT_CERT.length || !name.includes('_')) continue;
    // Slow path: somebody tries.
    if (name.replaceAll('_', '-') !== CLIENT_CERT) continue;
    headers.splice(i, 2);
    i -= 2;
  }
}
