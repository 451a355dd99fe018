// SPIFFE ids are the mesh's only workload names: the control plane puts them in certificates, the sidecar reads them
// from certificates. Both sides must accept exactly the same bytes, so the grammar lives here once and is strict.

declare const spiffeIdBrand: unique symbol;

/** A checked, canonical id `spiffe://<trust-domain>/ns/<namespace>/sa/<account>`; compare two with `===`. */
export type SpiffeId = string & { readonly [spiffeIdBrand]: true };

/** The three names inside a {@link SpiffeId}. */
export interface Identity {
  readonly trustDomain: string;
  readonly namespace: string;
  readonly serviceAccount: string;
}

/** Either the id with its parts, or a sentence that says what is wrong and what is expected. */
export type SpiffeResult =
  | { readonly ok: true; readonly id: SpiffeId; readonly identity: Identity }
  | { readonly ok: false; readonly error: string };

/** Longest id in bytes; every implementation must support this and must not make longer ones (SPIFFE-ID §2.3). */
export const SPIFFE_ID_BYTES_MAX = 2048;

/** Longest trust domain in bytes (SPIFFE-ID §2.1, from the host limit of RFC 3986 §3.2.2). */
export const TRUST_DOMAIN_BYTES_MAX = 255;

/** Longest namespace or service account in bytes: the limit of a Kubernetes object name (RFC 1123 subdomain). */
export const NAME_BYTES_MAX = 253;

const SCHEME = 'spiffe://';
const TRUST_DOMAIN = /^[a-z0-9._-]+$/;
const SEGMENT = /^[a-zA-Z0-9._-]+$/;

/**
 * Reads an id, accepting canonical text only: lower-case scheme, no port, user info, query, fragment, percent
 * encoding, empty or dot segments, nor a trailing slash (SPIFFE-ID §2.1, §2.2). Never throws.
 */
export function parseSpiffeId(text: string): SpiffeResult {
  if (text.length > SPIFFE_ID_BYTES_MAX) {
    return fail(`SPIFFE id has ${text.length} characters; at most ${SPIFFE_ID_BYTES_MAX} are allowed`);
  }
  if (!text.startsWith(SCHEME)) return fail(`SPIFFE id ${quote(text)} does not start with "${SCHEME}"`);
  const parts = text.slice(SCHEME.length).split('/');
  const [trustDomain, ns, namespace, sa, serviceAccount] = parts;
  if (parts.length !== 5 || ns !== 'ns' || sa !== 'sa') {
    return fail(`SPIFFE id ${quote(text)} is not of the form spiffe://<trust-domain>/ns/<namespace>/sa/<account>`);
  }
  return formatSpiffeId({
    trustDomain: trustDomain ?? '',
    namespace: namespace ?? '',
    serviceAccount: serviceAccount ?? '',
  });
}

/** Makes an id out of names, with the checks of {@link parseSpiffeId}; what it returns parses back to the same names. */
export function formatSpiffeId(identity: Identity): SpiffeResult {
  const { trustDomain, namespace, serviceAccount } = identity;
  if (trustDomain.length > TRUST_DOMAIN_BYTES_MAX || !TRUST_DOMAIN.test(trustDomain)) {
    const rule = `1 to ${TRUST_DOMAIN_BYTES_MAX} characters of a-z, 0-9, ".", "-", "_"`;
    return fail(`trust domain ${quote(trustDomain)} must be ${rule}`);
  }
  const error = checkSegment('namespace', namespace) ?? checkSegment('service account', serviceAccount);
  if (error !== null) return fail(error);
  return {
    ok: true,
    id: `${SCHEME}${trustDomain}/ns/${namespace}/sa/${serviceAccount}` as SpiffeId,
    identity: { trustDomain, namespace, serviceAccount },
  };
}

function checkSegment(what: string, name: string): string | null {
  if (name.length > NAME_BYTES_MAX || !SEGMENT.test(name)) {
    return `${what} ${quote(name)} must be 1 to ${NAME_BYTES_MAX} characters of a-z, A-Z, 0-9, ".", "-", "_"`;
  }
  if (name === '.' || name === '..') return `${what} must not be "${name}" (SPIFFE-ID §2.2 forbids dot segments)`;
  return null;
}

/** Quotes hostile input for a log line: escaped, and cut so that one bad id cannot flood it. */
function quote(text: string): string {
  return JSON.stringify(text.length > 100 ? `${text.slice(0, 100)}...` : text);
}

function fail(error: string): SpiffeResult {
  return { ok: false, error };
}
