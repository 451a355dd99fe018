// Which error code a reset carries: what the other hop said where that is meant for both ends, else why we gave up.

import { type ErrorKind, ProxyError } from '../error.ts';
import { CODE } from './frames.ts';

/** The code of RST_STREAM for a stream that its owner abandons (RFC 9113 §7). */
export function resetCode(error: ProxyError): number {
  if (error.code < 0) return codeOf(error.kind);
  switch (error.kind) {
    case 'cancelled':
    case 'streamReset':
    case 'refused':
    case 'malformed':
    case 'protocolError':
      // The sidecar's own choice is sent as it is.
      return error.source === 'local' ? error.code : relayedCode(error);
    default:
      return error.code;
  }
}

/**
 * Only codes about the message cross the hop. One about framing, windows or compression would accuse a peer that did
 * nothing; REFUSED_STREAM behind a response's head would have a client send again what was processed (RFC 9113 §8.7);
 * and NO_ERROR promises a whole response, so that a cut one would pass for whole (RFC 9113 §8.1).
 */
function relayedCode(error: ProxyError): number {
  switch (error.code) {
    case CODE.CANCEL:
    case CODE.ENHANCE_YOUR_CALM:
    case CODE.CONNECT_ERROR:
      return error.code;
    default:
      // Whatever a caller said, to the upstream it means that nobody waits for the answer.
      return error.source === 'downstream' ? CODE.CANCEL : CODE.INTERNAL_ERROR;
  }
}

/** Our own reasons to abandon a stream. */
function codeOf(kind: ErrorKind): number {
  if (kind === 'cancelled' || kind === 'requestTimeout' || kind === 'perTryTimeout' || kind === 'idleTimeout') {
    return CODE.CANCEL;
  }
  if (kind === 'refused' || kind === 'unavailable') return CODE.REFUSED_STREAM;
  return CODE.INTERNAL_ERROR;
}

/** What an RST_STREAM of the peer means to the stream's owner. */
export function peerReset(isServer: boolean, code: number): ProxyError {
  const reason = `the peer reset the stream with HTTP/2 error code ${code}`;
  if (!isServer) {
    if (code === CODE.REFUSED_STREAM) return new ProxyError('refused', 'upstream', reason, 'yes', null, code);
    return new ProxyError('streamReset', 'upstream', reason, 'no', null, code);
  }
  const kind = code === CODE.CANCEL || code === CODE.NO_ERROR ? 'cancelled' : 'streamReset';
  return new ProxyError(kind, 'downstream', reason, 'no', null, code);
}
