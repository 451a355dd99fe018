// The SPIFFE id of a peer, read from the certificate's DER. Text forms of the subject alternative name have been
// fooled by NUL bytes and quoted names (CVE-2021-44531, CVE-2025-66220), so the bytes themselves decide.

/** DER tags: X.690 §8, RFC 5280 §4.1 and §4.2.1.6. */
const SEQUENCE = 0x30;
const OCTET_STRING = 0x04;
const OBJECT_IDENTIFIER = 0x06;
const EXTENSIONS = 0xa3;
const DNS_NAME = 0x82;
const URI_NAME = 0x86;

/** 2.5.29.17, subjectAltName. */
const SUBJECT_ALT_NAME = Buffer.from([0x55, 0x1d, 0x11]);

interface Element {
  tag: number;
  content: Buffer;
  /** Where the next element begins. */
  end: number;
}

/**
 * The one URI name of a certificate, as X.509-SVID §2 demands: exactly one, printable ASCII.
 * @returns null when there is none, more than one, a strange byte, or DER that does not parse: all are strangers.
 */
export function uriName(certificate: Buffer): string | null {
  const names = subjectAltNames(certificate);
  if (names === null) return null;
  let found: string | null = null;
  for (let at = 0; at < names.length; ) {
    const name = element(names, at);
    if (name === null) return null;
    at = name.end;
    if (name.tag !== URI_NAME) continue;
    if (found !== null || name.content.length === 0) return null;
    for (const byte of name.content) if (byte <= 0x20 || byte >= 0x7f) return null;
    found = name.content.toString('latin1');
  }
  return found;
}

/** The DNS names of a certificate, in its order; none of one that does not parse. */
export function dnsNames(certificate: Buffer): string[] {
  const names = subjectAltNames(certificate);
  const found: string[] = [];
  for (let at = 0; names !== null && at < names.length; ) {
    const name = element(names, at);
    if (name === null) return [];
    at = name.end;
    if (name.tag === DNS_NAME) found.push(name.content.toString('latin1'));
  }
  return found;
}

/** Checks a peer's certificate against the ids that may serve: what is wrong, or null. For {@link EndpointTls.verify}. */
export function verifySpiffe(certificate: Buffer, allowed: ReadonlySet<string>): string | null {
  const id = uriName(certificate);
  if (id === null) return 'showed no SPIFFE identity: its certificate needs exactly one URI name';
  return allowed.has(id) ? null : `is ${id}, which may not serve this Service (service_accounts)`;
}

/** The content of the one subjectAltName extension; null when there is none, or two. */
function subjectAltNames(certificate: Buffer): Buffer | null {
  const outer = element(certificate, 0);
  const body = outer === null || outer.tag !== SEQUENCE ? null : element(outer.content, 0);
  if (body === null || body.tag !== SEQUENCE) return null;
  const wrapped = child(body.content, EXTENSIONS);
  const list = wrapped === null ? null : element(wrapped, 0);
  if (list === null || list.tag !== SEQUENCE) return null;
  let found: Buffer | null = null;
  for (let at = 0; at < list.content.length; ) {
    const extension = element(list.content, at);
    if (extension === null || extension.tag !== SEQUENCE) return null;
    at = extension.end;
    if (child(extension.content, OBJECT_IDENTIFIER)?.equals(SUBJECT_ALT_NAME) !== true) continue;
    const value = child(extension.content, OCTET_STRING);
    const names = value === null ? null : element(value, 0);
    if (found !== null || names === null || names.tag !== SEQUENCE) return null;
    found = names.content;
  }
  return found;
}

/** The content of the first element with this tag. */
function child(content: Buffer, tag: number): Buffer | null {
  for (let at = 0; at < content.length; ) {
    const next = element(content, at);
    if (next === null) return null;
    if (next.tag === tag) return next.content;
    at = next.end;
  }
  return null;
}

/** One element: definite lengths of at most three bytes, which is 16 MiB, far above any certificate. */
function element(bytes: Buffer, at: number): Element | null {
  const tag = bytes[at];
  const first = bytes[at + 1];
  if (tag === undefined || first === undefined) return null;
  let length = first;
  let start = at + 2;
  if (first >= 0x80) {
    const count = first & 0x7f;
    if (count === 0 || count > 3 || start + count > bytes.length) return null;
    length = bytes.readUIntBE(start, count);
    start += count;
  }
  const end = start + length;
  return end > bytes.length ? null : { tag, content: bytes.subarray(start, end), end };
}
