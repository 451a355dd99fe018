// The contract of the data path. A codec in either role offers one thing, a stream; a proxied request is two
// streams facing each other. HTTP/1 and HTTP/2, server and client, are four implementations of it; an
// in-memory pair for tests is a fifth. Whatever sits between two streams (a transcoder, an AI translator) has the same two faces.

import type { ProxyError } from './error.ts';
import type { HeaderList } from './headers.ts';

/**
 * The head of a request or a response. One class with one shape for both, so that hot code stays monomorphic.
 * Fields that belong to a pseudo-header (RFC 9113 §8.3) never appear in `headers`; neither do hop-by-hop
 * fields (RFC 9110 §7.6.1), framing (`transfer-encoding`) or `host`. `content-length` stays in `headers`.
 */
export class Head {
  /** Request: as sent, case-sensitive. Response: empty. */
  method: string;
  /** Request: `http` or `https`, or empty for CONNECT without :protocol. */
  scheme: string;
  /** Request: host[:port] lower-cased, from `:authority` or `Host`; the two must agree. */
  authority: string;
  /** Request: origin-form path with query, `*` for OPTIONS *, empty for a plain CONNECT. */
  path: string;
  /** Response: 100-999. Request: 0. */
  status: number;
  headers: HeaderList;
  /** Extended CONNECT's `:protocol`, or the HTTP/1.1 `Upgrade` token (e.g. `websocket`), else empty. */
  protocol: string;
  /**
   * Response written to a server stream: it is the connection's last, because whoever answers trusts nothing behind
   * the request. Default false. HTTP/1.1 says `connection: close`, reads on for a while so that the client gets the
   * whole answer, then closes (RFC 9112 §9.6); HTTP/2 ends streams one by one and ignores it. A `connection` field in
   * `headers` has no such effect.
   */
  closes: boolean;

  constructor(
    method: string,
    scheme: string,
    authority: string,
    path: string,
    status: number,
    headers: HeaderList,
    protocol = '',
  ) {
    this.method = method;
    this.scheme = scheme;
    this.authority = authority;
    this.path = path;
    this.status = status;
    this.headers = headers;
    this.protocol = protocol;
    this.closes = false;
  }

  static request(method: string, scheme: string, authority: string, path: string, headers: HeaderList): Head {
    return new Head(method, scheme, authority, path, 0, headers);
  }

  static response(status: number, headers: HeaderList): Head {
    return new Head('', '', '', '', status, headers);
  }
}

/**
 * Coming up from a codec, in this order: head, chunks, end. 1xx heads (not 101) may come before the head; 101
 * and a 2xx to CONNECT are final heads after which data flows both ways. Reset may come at any time and is the
 * last event. No event is delivered inside a call to that same stream. onDrain and onReset still arrive after
 * the end was written, until both sides have ended.
 */
export interface StreamEvents {
  /** `end`: nothing follows, neither data nor trailers. */
  onHead(head: Head, end: boolean): void;
  /** The chunk belongs to the receiver; its memory is not used again unless it says so (wire/slab.ts). Never empty unless `end`. */
  onData(chunk: Uint8Array, end: boolean): void;
  /** Only when the end did not come with head or data. */
  onEnd(trailers: HeaderList | null): void;
  /** Room again after `writeData` returned false. */
  onDrain(): void;
  /** The stream is dead in both directions; nothing follows and nothing may be written. */
  onReset(error: ProxyError): void;
}

/** Going down to a codec: same words, same order, in both roles and both protocols. */
export interface HttpStream {
  /** Whether what is written goes to a connection as it is, and is kept by nobody: its memory is used again once it has left (wire/slab.ts). */
  readonly isDirect: boolean;
  /** Who receives what comes up. May be exchanged between events, e.g. to put a transcoder in between. */
  events: StreamEvents;
  /** A server stream may write several 1xx heads before the final one. */
  writeHead(head: Head, end: boolean): void;
  /** false: wait for onDrain before writing more (the chunk itself was taken). The chunk is handed over. */
  writeData(chunk: Uint8Array, end: boolean): boolean;
  writeEnd(trailers: HeaderList | null): void;
  /** Abandons both directions; idempotent, and no onReset follows. HTTP/2 sends RST_STREAM with `error.code` (default by kind), HTTP/1 closes. */
  reset(error: ProxyError): void;
  /** The only way to stop what comes up: onData pauses within what is already being delivered; window or TCP stops the sender. */
  pause(): void;
  resume(): void;
}

/** What a server codec calls for each new request stream, before its onHead. The result becomes `stream.events`. */
export type StreamAcceptor = (stream: HttpStream) => StreamEvents;
