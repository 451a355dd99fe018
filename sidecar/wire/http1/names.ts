// Field names interned while they are scanned: common names cost no string, and the few that carry framing or
// belong to one hop are told apart by a number, not by comparing strings.

/** What the parser does with a field. */
export const PLAIN = 0;
export const CONNECTION = 1;
export const TRANSFER_ENCODING = 2;
export const CONTENT_LENGTH = 3;
export const HOST = 4;
export const UPGRADE = 5;
export const TE = 6;
/** Belongs to one hop and has no meaning here: dropped (RFC 9110 §7.6.1). */
export const HOP = 7;
/** CGI and what descends from it reads it as a field that frames (RFC 3875 §4.1.18): refused. */
export const TWIN = 8;

/** An interned name, lower-case, and what to do with its field. */
interface KnownName {
  readonly name: string;
  readonly kind: number;
}

/** Byte to lower-case byte for the token characters of RFC 9110 §5.6.2, else 0. */
export const TOKEN = new Uint8Array(256);
for (const c of "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz") TOKEN[c.charCodeAt(0)] = c.charCodeAt(0);
for (let c = 0x41; c <= 0x5a; c++) TOKEN[c] = c + 0x20;

/** 1 for the bytes a field value may hold (RFC 9110 §5.5): HTAB, SP, VCHAR, obs-text. */
export const VALUE = new Uint8Array(256);
VALUE[0x09] = 1;
VALUE.fill(1, 0x20, 0x7f);
VALUE.fill(1, 0x80);

const SLOTS = 1024;
const slots: (KnownName | null)[] = new Array(SLOTS).fill(null);

const SPECIAL: Record<string, number> = {
  connection: CONNECTION,
  'transfer-encoding': TRANSFER_ENCODING,
  'content-length': CONTENT_LENGTH,
  host: HOST,
  upgrade: UPGRADE,
  te: TE,
  'keep-alive': HOP,
  'proxy-connection': HOP,
  'http2-settings': HOP,
  content_length: TWIN,
  transfer_encoding: TWIN,
};

const COMMON =
  'accept accept-charset accept-encoding accept-language accept-ranges access-control-allow-origin age allow ' +
  'anthropic-version authorization cache-control content-disposition content-encoding content-language ' +
  'content-location content-range content-type cookie date dnt etag expect expires forwarded from grpc-encoding ' +
  'grpc-accept-encoding grpc-message grpc-status grpc-timeout if-match if-modified-since if-none-match if-range ' +
  'if-unmodified-since last-modified link location max-forwards openai-organization origin pragma ' +
  'proxy-authenticate proxy-authorization range referer retry-after sec-fetch-dest sec-fetch-mode ' +
  'sec-fetch-site sec-websocket-accept sec-websocket-extensions sec-websocket-key sec-websocket-protocol ' +
  'sec-websocket-version server set-cookie strict-transport-security traceparent tracestate trailer ' +
  'upgrade-insecure-requests user-agent vary via www-authenticate x-api-key x-forwarded-for x-forwarded-host ' +
  'x-forwarded-proto x-powered-by x-real-ip x-request-id';

function hashOf(name: string): number {
  let hash = 0;
  for (let i = 0; i < name.length; i++) hash = (Math.imul(hash, 31) + name.charCodeAt(i)) | 0;
  return hash;
}

function intern(name: string, kind: number): void {
  let slot = hashOf(name) & (SLOTS - 1);
  while (slots[slot] !== null) slot = (slot + 1) & (SLOTS - 1);
  slots[slot] = { name, kind };
}

for (const name of Object.keys(SPECIAL)) intern(name, SPECIAL[name] as number);
for (const name of COMMON.split(' ')) intern(name, PLAIN);

/** The interned name of `bytes[from, to)`, in any case, or null. `hash` is the rolling hash (times 31, 32 bits) of its lower-case bytes. */
export function knownName(hash: number, bytes: Uint8Array, from: number, to: number): KnownName | null {
  const length = to - from;
  for (let slot = hash & (SLOTS - 1); ; slot = (slot + 1) & (SLOTS - 1)) {
    const known = slots[slot] as KnownName | null;
    if (known === null) return null;
    const name = known.name;
    if (name.length !== length) continue;
    let i = 0;
    while (i < length && TOKEN[bytes[from + i] as number] === name.charCodeAt(i)) i++;
    if (i === length) return known;
  }
}
