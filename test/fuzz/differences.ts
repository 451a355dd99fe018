// Where llhttp (HTTP/1.1) and nghttp2 (HTTP/2), or Node around them, do not what the sentence of the RFC says that stands
// here, and we do. The one table of all fuzzers, at most ten rows: any other disagreement that they find is a bug.

import type { Said } from '../support/http1-messages.ts';

/** One row. Of HTTP/1.1 it is known by the token of the refusal; sequences of HTTP/2 frames that come there are not compared. */
interface Difference {
  /** What the other side does. */
  readonly theirs: string;
  readonly sentences: readonly string[];
  /** Reasons of our own with which we refuse what they take. */
  readonly weRefuse?: readonly string[];
  /** Their error codes for what we take. */
  readonly theyRefuse?: readonly string[];
  /** What stands somewhere in the bytes then. */
  readonly where?: RegExp;
  /** Bytes whose framing is another to them: nothing behind is compared. */
  readonly readOtherwise?: RegExp;
}

export const DIFFERENCES = {
  startLine: {
    theirs:
      'takes several spaces, no version, a fragment, any text for a target, versions 0.9 and 2.0, a status of 099 and NUL in a reason; refuses methods that it has no number for',
    sentences: [
      'RFC 9112 §3: Recipients of an invalid request-line SHOULD respond with either a 400 (Bad Request) error or a 301 (Moved Permanently) redirect with the request-target properly encoded.',
      'RFC 9110 §15: A client that receives a response with an invalid status code SHOULD process the response as if it had a 5xx (Server Error) status code.',
      'RFC 9110 §9.1: Additional methods, outside the scope of this specification, have been specified for use in HTTP.',
    ],
    weRefuse: ['requestLine', 'target', 'targetForm', 'userinfo', 'version', 'statusLine'],
    theyRefuse: ['HPE_INVALID_METHOD'],
  },
  beforeRequest: {
    theirs: 'skips CRs and LFs before a request line, single ones and however many',
    sentences: [
      'RFC 9112 §2.2: a server that is expecting to receive and parse a request-line SHOULD ignore at least one empty line (CRLF) received prior to the request-line.',
      'RFC 9112 §2.2: A recipient of such a bare CR MUST consider that element to be invalid or replace each bare CR with SP before processing the element or forwarding the message.',
    ],
    weRefuse: ['bareLf', 'bareCr', 'emptyLines'],
  },
  host: {
    theirs: 'takes the first of several Hosts, and any text in it, beside any target',
    sentences: [
      'RFC 9112 §3.2: A server MUST respond with a 400 (Bad Request) status code to any HTTP/1.1 request message that lacks a Host header field and to any request message that contains more than one Host header field line or a Host header field with an invalid field value.',
    ],
    weRefuse: ['host', 'hostRepeated', 'hostDisagrees'],
  },
  coding: {
    theirs:
      'takes codings that nobody there decodes, and any coding in HTTP/1.0; refuses HTAB behind a coding, or in a response reads on to the end of the connection',
    sentences: [
      'RFC 9112 §5.1: OWS occurring before the first non-whitespace octet of the field line value, or after the last non-whitespace octet of the field line value, is excluded by parsers when extracting the field line value from a field line.',
      'RFC 9112 §6.1: A server that receives a request message with a transfer coding it does not understand SHOULD respond with 501 (Not Implemented).',
      'RFC 9112 §6.1: A server or client that receives an HTTP/1.0 message containing a Transfer-Encoding header field MUST treat the message as if the framing is faulty, even if a Content-Length is present, and close the connection after processing the message.',
    ],
    weRefuse: ['coding', 'codingInOldVersion'],
    theyRefuse: ['HPE_INVALID_TRANSFER_ENCODING'],
    where: /^transfer-encoding:[^\r]*\t *\r/im,
    readOtherwise: /^HTTP\/1\.1 [2-5][\s\S]*^transfer-encoding:[^\r]*\t *\r/im,
  },
  fieldsOfOthers: {
    theirs:
      'takes trailers that frame or route, and Connection that names Content-Length; takes the connection for ended behind a trailer or a 1xx with Connection: close, or a 1xx of HTTP/1.0',
    sentences: [
      'RFC 9110 §6.5.1: Many fields cannot be processed outside the header section because their evaluation is necessary prior to receiving the content, such as those that describe message framing, routing, authentication, request modifiers, response controls, or content format.',
      'RFC 9110 §15.2: A client MUST be able to parse one or more 1xx responses received prior to a final response, even if the client does not expect one.',
      'RFC 9110 §7.6.1: A sender MUST NOT send a connection option corresponding to a field that is intended for all recipients of the content.',
    ],
    weRefuse: ['trailerField', 'nominated'],
    theyRefuse: ['HPE_CLOSED_CONNECTION'],
    where: /^connection:.*close|^HTTP\/1\.0 1/im,
  },
  chunkExtension: {
    theirs: 'refuses extensions with no name, or with space before their value',
    sentences: ['RFC 9112 §7.1.1: A recipient MUST ignore unrecognized chunk extensions.'],
    theyRefuse: ['HPE_STRICT'],
    where: /^[0-9a-f]+;/im,
  },
  streamError: {
    theirs: 'ends the connection, also where more DATA comes than Content-Length says',
    sentences: [
      'RFC 9113 §5.1: If an endpoint receives additional frames, other than WINDOW_UPDATE, PRIORITY, or RST_STREAM, for a stream that is in this state, it MUST respond with a stream error (Section 5.4.2) of type STREAM_CLOSED.',
      'RFC 9113 §8.1.1: Malformed requests or responses that are detected MUST be treated as a stream error (Section 5.4.2) of type PROTOCOL_ERROR.',
      'RFC 9113 §6.9: A receiver MUST treat the receipt of a WINDOW_UPDATE frame with a flow-control window increment of 0 as a stream error (Section 5.4.2) of type PROTOCOL_ERROR.',
    ],
  },
  closedStream: {
    theirs: 'ignores HEADERS and DATA of a stream that is closed or below the highest one',
    sentences: [
      'RFC 9113 §5.1.1: An endpoint that receives an unexpected stream identifier MUST respond with a connection error (Section 5.4.1) of type PROTOCOL_ERROR.',
      'RFC 9113 §6.1: If a DATA frame is received whose stream is not in the "open" or "half-closed (local)" state, the recipient MUST respond with a stream error (Section 5.4.2) of type STREAM_CLOSED.',
    ],
  },
  pingAck: {
    theirs: 'ends the connection on an acknowledgement that nobody asked for; the RFC has no such error',
    sentences: ['RFC 9113 §6.7: An endpoint MUST NOT respond to PING frames containing this flag.'],
  },
  priorityZero: {
    theirs: 'does not look at PRIORITY any more',
    sentences: [
      'RFC 9113 §6.3: If a PRIORITY frame is received with a stream identifier of 0x00, the recipient MUST respond with a connection error (Section 5.4.1) of type PROTOCOL_ERROR.',
    ],
  },
} as const satisfies Record<string, Difference>;

const ROWS: readonly Difference[] = Object.values(DIFFERENCES);

/** Whether the two differ, for a reason that no row gives. Whoever refuses has seen the same messages before. */
export function disagree(bytes: Buffer, our: Said, their: Said): boolean {
  const ours = our.messages.length;
  const theirs = their.messages.length;
  const both = Math.min(ours, theirs);
  const text = bytes.toString('latin1');
  if (ROWS.some((row) => row.readOtherwise?.test(text))) return false;
  if (JSON.stringify(our.messages.slice(0, both)) !== JSON.stringify(their.messages.slice(0, both))) return true;
  if (ours === theirs && (our.refused === '') === (their.refused === '')) return false;
  if (ours <= theirs && ROWS.some((row) => row.weRefuse?.includes(our.refused))) return false;
  const isRow = ({ theyRefuse, where }: Difference): boolean =>
    theyRefuse?.includes(their.refused) === true && (where === undefined || where.test(text));
  return !(theirs <= ours && ROWS.some(isRow));
}

/** Notes what was met, for a fuzzer to show that it compared something. */
export function note(seen: Set<string>, said: Said): void {
  seen.add(said.refused === '' ? 'taken' : 'refused');
  if (said.messages.length > 1) seen.add('several');
  if (said.messages.some(({ body }) => body !== '')) seen.add('body');
  if (said.messages.some(({ trailers }) => trailers.length > 0)) seen.add('trailers');
}
