// The one place that turns an error into HTTP status, gRPC status, response flag, close-or-keep and log line, and
// that writes replies of the sidecar itself.

import type { ErrorKind, ProxyError } from '../wire/error.ts';
import type { HeaderList } from '../wire/headers.ts';
import { headerValue, headerValues } from '../wire/headers.ts';
import type { HttpStream } from '../wire/stream.ts';
import { Head } from '../wire/stream.ts';

/** What an error means to a caller and to an operator. */
export interface ErrorReply {
  /** HTTP status (RFC 9110 §15); 499 is never sent, only logged. */
  readonly status: number;
  /** gRPC status code; follows the mapping of HTTP to gRPC statuses where one exists. */
  readonly grpcStatus: number;
  /** Envoy's response flag where it has one; RBAC, OM and IE are used for denied, unavailable and internal. */
  readonly flag: string;
  /** Whether the caller's HTTP/1 connection must close after the reply: its framing can no longer be trusted. */
  readonly close: boolean;
  /** For the caller: no addresses, no policy names. */
  readonly message: string;
}

function reply(status: number, grpcStatus: number, flag: string, close: boolean, message: string): ErrorReply {
  return { status, grpcStatus, flag, close, message };
}

// gRPC: 1 CANCELLED, 4 DEADLINE_EXCEEDED, 7 PERMISSION_DENIED, 8 RESOURCE_EXHAUSTED, 12 UNIMPLEMENTED, 13 INTERNAL, 14 UNAVAILABLE.
const REPLIES: Readonly<Record<ErrorKind, ErrorReply>> = {
  malformed: reply(400, 13, 'DPE', true, 'malformed request'),
  headersTooLarge: reply(431, 8, 'DPE', true, 'request headers too large'),
  bodyTooLarge: reply(413, 8, 'DPE', true, 'request body too large'),
  uriTooLong: reply(414, 8, 'DPE', true, 'request URI too long'),
  misdirected: reply(421, 14, 'NR', false, 'this connection does not serve that host'),
  headerTimeout: reply(408, 4, 'DT', true, 'request head did not arrive in time'),
  requestTimeout: reply(504, 4, 'UT', false, 'upstream request timed out'),
  perTryTimeout: reply(504, 4, 'UT', false, 'upstream request timed out'),
  idleTimeout: reply(504, 4, 'SI', true, 'stream was idle for too long'),
  connectFailed: reply(503, 14, 'UF', false, 'upstream connection failed'),
  connectTimeout: reply(503, 14, 'UF', false, 'upstream connection timed out'),
  tlsFailed: reply(503, 14, 'UF', false, 'upstream TLS handshake failed'),
  refused: reply(503, 14, 'UR', false, 'upstream refused the request'),
  connectionClosed: reply(503, 14, 'UC', false, 'upstream connection closed before the response'),
  streamReset: reply(503, 14, 'UR', false, 'upstream reset the request'),
  protocolError: reply(502, 13, 'UPE', false, 'upstream sent an invalid response'),
  noUpgrade: reply(501, 12, 'UR', false, 'upstream takes no upgrade'),
  noRoute: reply(404, 12, 'NR', false, 'no route for this request'),
  noEndpoint: reply(503, 14, 'UH', false, 'no healthy upstream'),
  overflow: reply(503, 14, 'UO', false, 'too many requests under way'),
  denied: reply(403, 7, 'RBAC', false, 'access denied'),
  unavailable: reply(503, 14, 'OM', true, 'temporarily unavailable'),
  cancelled: reply(499, 1, 'DC', true, 'caller went away'),
  internal: reply(500, 13, 'IE', true, 'internal error'),
};

/** Kinds that both sides can cause, where the caller's doing (first table) or the upstream's (second) reads differently. */
const BY_DOWNSTREAM: Readonly<Partial<Record<ErrorKind, ErrorReply>>> = {
  idleTimeout: reply(408, 4, 'SI', true, 'request was idle for too long'),
  connectionClosed: reply(499, 1, 'DC', true, 'caller went away'),
  streamReset: reply(499, 1, 'DR', true, 'caller reset the request'),
  protocolError: reply(400, 13, 'DPE', true, 'malformed request'),
  tlsFailed: reply(400, 14, 'DPE', true, 'TLS handshake failed'),
};
const BY_UPSTREAM: Readonly<Partial<Record<ErrorKind, ErrorReply>>> = {
  malformed: reply(502, 13, 'UPE', false, 'upstream sent an invalid response'),
  headersTooLarge: reply(502, 13, 'UPE', false, 'upstream response headers too large'),
  bodyTooLarge: reply(502, 13, 'UPE', false, 'upstream response body too large'),
};

/** How gRPC reads the code of an RST_STREAM where it is not UNAVAILABLE as any lost call (gRPC over HTTP/2, "Errors"). */
const GRPC_OF_RESET: ReadonlyMap<number, number> = new Map([
  [0, 13], // NO_ERROR before the response was whole
  [1, 13], // PROTOCOL_ERROR
  [2, 13], // INTERNAL_ERROR
  [3, 13], // FLOW_CONTROL_ERROR
  [4, 13], // SETTINGS_TIMEOUT
  [6, 13], // FRAME_SIZE_ERROR
  [8, 1], // CANCEL
  [9, 13], // COMPRESSION_ERROR
  [10, 13], // CONNECT_ERROR
  [11, 8], // ENHANCE_YOUR_CALM
  [12, 7], // INADEQUATE_SECURITY
]);

/** What this error means; total over kind and source. */
export function replyFor(error: ProxyError): ErrorReply {
  if (error.source === 'downstream') return BY_DOWNSTREAM[error.kind] ?? REPLIES[error.kind];
  if (error.source === 'upstream') return BY_UPSTREAM[error.kind] ?? REPLIES[error.kind];
  return REPLIES[error.kind];
}

/** The log line of an error: flag, kind, who, and what to do. Holds no header values or bodies. */
export function errorLine(error: ProxyError): string {
  const { flag, status } = replyFor(error);
  return `${flag} ${status} ${error.kind} (${error.source}): ${error.detail}`;
}

/** A reply of the sidecar itself, ready to be written. */
export interface LocalReply {
  /** `closes` where the caller's framing can no longer be trusted. */
  readonly head: Head;
  /** Null: the head ends the response. */
  readonly body: Uint8Array | null;
}

/**
 * Builds the reply to a request that could not be served: trailers-only for gRPC (gRPC over HTTP/2, "Responses"), else
 * JSON or plain text by `accept`.
 * @param request null when no head was understood.
 * @param expose whether the caller may read the detail: true towards the own application, false (default) towards others.
 */
export function localReply(request: Head | null, error: ProxyError, expose = false): LocalReply {
  const { status, grpcStatus, flag, close, message } = replyFor(error);
  const text = expose ? `${message}: ${error.detail}` : message;
  const contentType = request === null ? undefined : headerValue(request.headers, 'content-type');
  if (contentType?.startsWith('application/grpc')) {
    const byReset = error.kind === 'streamReset' ? GRPC_OF_RESET.get(error.code) : undefined;
    const headers = [
      'content-type',
      contentType,
      'grpc-status',
      String(byReset ?? grpcStatus),
      'grpc-message',
      encodeGrpcMessage(text),
      'x-weft-error',
      flag,
    ];
    return { head: replyHead(200, headers, close), body: null };
  }
  const json = request !== null && acceptsJson(headerValues(request.headers, 'accept'));
  const body = Buffer.from(
    json ? `${JSON.stringify({ error: { kind: error.kind, flag, message: text } })}\n` : `${text}\n`,
  );
  const headers: HeaderList = [
    'content-type',
    json ? 'application/json' : 'text/plain; charset=utf-8',
    'content-length',
    String(body.byteLength),
    'x-weft-error',
    flag,
  ];
  // RFC 9110 §9.3.2: the fields of GET, no content.
  return { head: replyHead(status, headers, close), body: request?.method === 'HEAD' ? null : body };
}

function replyHead(status: number, headers: HeaderList, closes: boolean): Head {
  const head = Head.response(status, headers);
  head.closes = closes;
  return head;
}

/** Writes the local reply and ends the stream. To be called only while no response head was written. */
export function respond(stream: HttpStream, request: Head | null, error: ProxyError, expose = false): void {
  const { head, body } = localReply(request, error, expose);
  stream.writeHead(head, body === null);
  if (body !== null) stream.writeData(body, true);
}

/** JSON only when asked for by name: `*\/*` of curl gets text for people. */
function acceptsJson(accept: string | undefined): boolean {
  return accept !== undefined && /application\/(?:[\w.-]+\+)?json\b/i.test(accept);
}

/** gRPC over HTTP/2, "Status-Message": percent-encoded UTF-8 but for printable ASCII without `%`. */
function encodeGrpcMessage(text: string): string {
  let encoded = '';
  for (const byte of Buffer.from(text)) {
    const plain = byte >= 0x20 && byte <= 0x7e && byte !== 0x25;
    encoded += plain ? String.fromCharCode(byte) : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
  }
  return encoded;
}
