// Every way in which frames or messages are not HTTP/2, as a closed table: the token is a metric label, the section
// says where the rule stands, the code is what the peer is told. Whether a breach ends the stream or the connection
// is decided where it is found.

import { CODE } from './frames.ts';

/** Why a frame or message was refused. `reason`: a stable token for a metric, shared by breaches alike; `section`: an RFC section; `detail`: for the operator. */
export interface Rejection {
  readonly reason: string;
  readonly section: string;
  /** RFC 9113 §7. */
  readonly code: number;
  readonly detail: string;
}

const { PROTOCOL_ERROR, FLOW_CONTROL_ERROR, STREAM_CLOSED, FRAME_SIZE_ERROR, COMPRESSION_ERROR, ENHANCE_YOUR_CALM } =
  CODE;

function rule(reason: string, section: string, code: number, detail: string): Rejection {
  return { reason, section, code, detail: `${detail} (${section})` };
}

/** Breaches of framing, of the life of streams, and of windows. One object each, so that a refusal allocates nothing. */
export const FRAMING = {
  preface: rule('preface', 'RFC 9113 §3.4', PROTOCOL_ERROR, 'the connection does not begin with the HTTP/2 preface'),
  firstFrame: rule('firstFrame', 'RFC 9113 §3.4', PROTOCOL_ERROR, 'the first frame is not SETTINGS'),
  tooLong: rule('frameLength', 'RFC 9113 §4.2', FRAME_SIZE_ERROR, 'a frame exceeds 16,384 bytes'),
  tooShort: rule('frameLength', 'RFC 9113 §4.2', FRAME_SIZE_ERROR, 'a frame is too short for what its flags promise'),
  compression: rule('compression', 'RFC 9113 §4.3', COMPRESSION_ERROR, 'a header block does not decode'),
  blockCut: rule('headerBlock', 'RFC 9113 §6.10', PROTOCOL_ERROR, 'another frame inside a header block'),
  noBlock: rule('headerBlock', 'RFC 9113 §6.10', PROTOCOL_ERROR, 'CONTINUATION without HEADERS'),
  padding: rule('padding', 'RFC 9113 §6.1', PROTOCOL_ERROR, 'padding exceeds the frame'),
  dataIdle: rule('streamId', 'RFC 9113 §5.1', PROTOCOL_ERROR, 'DATA on an idle stream'),
  dataClosed: rule('streamClosed', 'RFC 9113 §5.1', STREAM_CLOSED, 'DATA on a closed stream'),
  headersZero: rule('streamId', 'RFC 9113 §6.2', PROTOCOL_ERROR, 'HEADERS on stream 0'),
  headersId: rule('streamId', 'RFC 9113 §5.1.1', PROTOCOL_ERROR, 'HEADERS on a stream that cannot be opened'),
  headersClosed: rule('streamClosed', 'RFC 9113 §5.1', STREAM_CLOSED, 'HEADERS on a closed stream'),
  priorityZero: rule('streamId', 'RFC 9113 §6.3', PROTOCOL_ERROR, 'PRIORITY on stream 0'),
  priorityLength: rule('frameLength', 'RFC 9113 §6.3', FRAME_SIZE_ERROR, 'PRIORITY is not 5 bytes'),
  selfDependency: rule('selfDependency', 'RFC 7540 §5.3.1', PROTOCOL_ERROR, 'a stream depends on itself'),
  resetLength: rule('frameLength', 'RFC 9113 §6.4', FRAME_SIZE_ERROR, 'RST_STREAM is not 4 bytes'),
  resetIdle: rule('streamId', 'RFC 9113 §6.4', PROTOCOL_ERROR, 'RST_STREAM on an idle stream'),
  settingsId: rule('streamId', 'RFC 9113 §6.5', PROTOCOL_ERROR, 'SETTINGS on a stream'),
  settingsLength: rule('frameLength', 'RFC 9113 §6.5', FRAME_SIZE_ERROR, 'SETTINGS has a wrong length'),
  enablePush: rule('settings', 'RFC 9113 §6.5.2', PROTOCOL_ERROR, 'ENABLE_PUSH is neither 0 nor 1, or 1 of a server'),
  maxFrameSize: rule('settings', 'RFC 9113 §6.5.2', PROTOCOL_ERROR, 'MAX_FRAME_SIZE is out of range'),
  initialWindow: rule('settings', 'RFC 9113 §6.5.2', FLOW_CONTROL_ERROR, 'INITIAL_WINDOW_SIZE is out of range'),
  connectProtocol: rule(
    'settings',
    'RFC 8441 §3',
    PROTOCOL_ERROR,
    'ENABLE_CONNECT_PROTOCOL is not 0 or 1, or withdrawn',
  ),
  noPriorities: rule('settings', 'RFC 9218 §2.1', PROTOCOL_ERROR, 'NO_RFC7540_PRIORITIES is not 0 or 1'),
  updateStream: rule('streamId', 'RFC 9218 §7.1', PROTOCOL_ERROR, 'PRIORITY_UPDATE on a stream, or of a server'),
  updateLength: rule('frameLength', 'RFC 9218 §7.1', FRAME_SIZE_ERROR, 'PRIORITY_UPDATE is shorter than 4 bytes'),
  updateAbout: rule('streamId', 'RFC 9218 §7.1', PROTOCOL_ERROR, 'PRIORITY_UPDATE about a stream of no client'),
  push: rule('push', 'RFC 9113 §6.6', PROTOCOL_ERROR, 'PUSH_PROMISE, which we never allow'),
  pingId: rule('streamId', 'RFC 9113 §6.7', PROTOCOL_ERROR, 'PING on a stream'),
  pingLength: rule('frameLength', 'RFC 9113 §6.7', FRAME_SIZE_ERROR, 'PING is not 8 bytes'),
  goawayId: rule('streamId', 'RFC 9113 §6.8', PROTOCOL_ERROR, 'GOAWAY on a stream'),
  goawayLength: rule('frameLength', 'RFC 9113 §6.8', FRAME_SIZE_ERROR, 'GOAWAY is shorter than 8 bytes'),
  windowLength: rule('frameLength', 'RFC 9113 §6.9', FRAME_SIZE_ERROR, 'WINDOW_UPDATE is not 4 bytes'),
  windowIdle: rule('streamId', 'RFC 9113 §5.1', PROTOCOL_ERROR, 'WINDOW_UPDATE on an idle stream'),
  windowZero: rule('windowUpdate', 'RFC 9113 §6.9', PROTOCOL_ERROR, 'WINDOW_UPDATE of 0'),
  windowOverflow: rule('windowUpdate', 'RFC 9113 §6.9.1', FLOW_CONTROL_ERROR, 'a window exceeds 2^31 - 1 bytes'),
  connectionWindow: rule('flowControl', 'RFC 9113 §6.9.1', FLOW_CONTROL_ERROR, 'DATA exceeds the connection window'),
  streamWindow: rule('flowControl', 'RFC 9113 §6.9.1', FLOW_CONTROL_ERROR, 'DATA exceeds the stream window'),
} as const satisfies Record<string, Rejection>;

/** Malformed messages (RFC 9113 §8.1.1): each is a stream error, but for a request that is only too large: 431, or 414. */
export const MESSAGE = {
  pseudoUnknown: rule('pseudoHeader', 'RFC 9113 §8.3', PROTOCOL_ERROR, 'a pseudo-header that does not belong here'),
  pseudoTwice: rule('pseudoHeader', 'RFC 9113 §8.3', PROTOCOL_ERROR, 'a pseudo-header appears twice'),
  pseudoLate: rule('pseudoHeader', 'RFC 9113 §8.3', PROTOCOL_ERROR, 'a pseudo-header after a field'),
  fieldName: rule('fieldName', 'RFC 9113 §8.2.1', PROTOCOL_ERROR, 'a field name is not a lower-case token'),
  fieldValue: rule('fieldValue', 'RFC 9113 §8.2.1', PROTOCOL_ERROR, 'a field value has a forbidden character'),
  connectionField: rule('connectionField', 'RFC 9113 §8.2.2', PROTOCOL_ERROR, 'a field of HTTP/1.1 connections'),
  te: rule('te', 'RFC 9113 §8.2.2', PROTOCOL_ERROR, 'te may only say "trailers"'),
  method: rule('method', 'RFC 9113 §8.3.1', PROTOCOL_ERROR, ':method is missing, not a token, or longer than 32 bytes'),
  scheme: rule('scheme', 'RFC 9113 §8.3.1', PROTOCOL_ERROR, ':scheme is missing'),
  authority: rule('host', 'RFC 9113 §8.3.1', PROTOCOL_ERROR, ':authority is missing or not host[:port]'),
  hostRepeated: rule('hostRepeated', 'RFC 9110 §7.2', PROTOCOL_ERROR, 'host appears twice'),
  hostDisagrees: rule('hostDisagrees', 'RFC 9113 §8.3.1', PROTOCOL_ERROR, 'host and :authority differ'),
  path: rule('path', 'RFC 9113 §8.3.1', PROTOCOL_ERROR, ':path is missing or not a path'),
  pathTooLong: rule('uriTooLong', 'RFC 9110 §15.5.15', ENHANCE_YOUR_CALM, ':path exceeds 8 KiB'),
  connect: rule('connect', 'RFC 9113 §8.5', PROTOCOL_ERROR, 'CONNECT needs host:port, and neither :scheme nor :path'),
  connectBody: rule('connectBody', 'RFC 9110 §9.3.6', PROTOCOL_ERROR, 'CONNECT with a content-length'),
  protocol: rule('protocol', 'RFC 8441 §4', PROTOCOL_ERROR, ':protocol belongs to CONNECT, and names no HTTP'),
  status: rule('status', 'RFC 9113 §8.3.2', PROTOCOL_ERROR, ':status is missing or no number'),
  status101: rule('status', 'RFC 9113 §8.6', PROTOCOL_ERROR, 'status 101 does not exist in HTTP/2'),
  interimEnd: rule('interimHeads', 'RFC 9113 §8.1', PROTOCOL_ERROR, 'an informational response ends the stream'),
  interimHeads: rule('interimHeads', 'RFC 9110 §15.2', ENHANCE_YOUR_CALM, 'more than 32 informational heads'),
  tooLarge: rule('headTooLarge', 'RFC 6585 §5', ENHANCE_YOUR_CALM, 'a head exceeds 60 KiB or 100 fields'),
  length: rule('length', 'RFC 9110 §8.6', PROTOCOL_ERROR, 'content-length is no number, or two that differ'),
  body: rule('body', 'RFC 9113 §8.1.1', PROTOCOL_ERROR, 'the body differs from content-length'),
  bodyFirst: rule('body', 'RFC 9113 §8.1', PROTOCOL_ERROR, 'DATA before the head'),
  trailersOpen: rule('trailers', 'RFC 9113 §8.1', PROTOCOL_ERROR, 'trailers do not end the stream'),
  trailersLarge: rule('trailers', 'RFC 6585 §5', PROTOCOL_ERROR, 'trailers exceed 60 KiB or 100 fields'),
  trailerField: rule('trailerField', 'RFC 9110 §6.5.1', PROTOCOL_ERROR, 'a trailer that frames or routes the message'),
} as const satisfies Record<string, Rejection>;
