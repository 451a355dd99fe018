// Every way in which bytes are not HTTP/1.1, as a closed table: the token is a metric label, the section says
// where the rule stands, the status is what a server answers before it closes.

import { ProxyError } from '../error.ts';

/** Why a message was refused. `reason` is a stable token for a metric; `section` an RFC section; `status` the server's answer. */
export interface Rejection {
  readonly reason: string;
  readonly section: string;
  readonly status: number;
}

function rule(reason: string, section: string, status = 400): Rejection {
  return { reason, section, status };
}

/** The closed set of refusals. One object each, so that a refusal allocates nothing. */
export const REJECT = {
  bareLf: rule('bareLf', 'RFC 9112 §2.2'),
  bareCr: rule('bareCr', 'RFC 9112 §2.2'),
  emptyLines: rule('emptyLines', 'RFC 9112 §2.2'),
  method: rule('method', 'RFC 9110 §9.1'),
  requestLine: rule('requestLine', 'RFC 9112 §3'),
  target: rule('target', 'RFC 9112 §3.2'),
  targetForm: rule('targetForm', 'RFC 9112 §3.2'),
  userinfo: rule('userinfo', 'RFC 9110 §4.2.4'),
  uriTooLong: rule('uriTooLong', 'RFC 9110 §15.5.15', 414),
  version: rule('version', 'RFC 9112 §2.3', 505),
  statusLine: rule('statusLine', 'RFC 9112 §4', 502),
  headTooLarge: rule('headTooLarge', 'RFC 6585 §5', 431),
  tooManyFields: rule('tooManyFields', 'RFC 6585 §5', 431),
  headTimeout: rule('headTimeout', 'RFC 9110 §15.5.9', 408),
  bodyTimeout: rule('bodyTimeout', 'RFC 9110 §15.5.9', 408),
  obsFold: rule('obsFold', 'RFC 9112 §5.2'),
  spaceBeforeColon: rule('spaceBeforeColon', 'RFC 9112 §5.1'),
  fieldName: rule('fieldName', 'RFC 9110 §5.1'),
  fieldTwin: rule('fieldTwin', 'RFC 3875 §4.1.18'),
  nul: rule('nul', 'RFC 9110 §5.5'),
  fieldValue: rule('fieldValue', 'RFC 9110 §5.5'),
  hostMissing: rule('hostMissing', 'RFC 9112 §3.2'),
  hostRepeated: rule('hostRepeated', 'RFC 9112 §3.2'),
  host: rule('host', 'RFC 9110 §7.2'),
  hostDisagrees: rule('hostDisagrees', 'RFC 9112 §3.2.2'),
  lengthRepeated: rule('lengthRepeated', 'RFC 9112 §6.3'),
  length: rule('length', 'RFC 9110 §8.6'),
  lengthAndCoding: rule('lengthAndCoding', 'RFC 9112 §6.1'),
  coding: rule('coding', 'RFC 9112 §6.1'),
  codingInOldVersion: rule('codingInOldVersion', 'RFC 9112 §6.1'),
  nominated: rule('nominated', 'RFC 9110 §7.6.1'),
  connectBody: rule('connectBody', 'RFC 9110 §9.3.6'),
  upgradeUnasked: rule('upgradeUnasked', 'RFC 9110 §7.8', 502),
  interimHeads: rule('interimHeads', 'RFC 9110 §15.2', 502),
  chunkSize: rule('chunkSize', 'RFC 9112 §7.1'),
  chunkExtension: rule('chunkExtension', 'RFC 9112 §7.1.1'),
  chunkExtensionTooLarge: rule('chunkExtensionTooLarge', 'RFC 9112 §7.1.1'),
  chunkEnd: rule('chunkEnd', 'RFC 9112 §7.1'),
  trailerField: rule('trailerField', 'RFC 9110 §6.5.1'),
} as const satisfies Record<string, Rejection>;

/** The refusal as the error a stream is reset with: the client of a server codec is at fault, or the upstream of a client codec. */
export function rejectionError(rejection: Rejection, source: 'downstream' | 'upstream'): ProxyError {
  const detail = `HTTP/1.1 message refused: ${rejection.reason} (${rejection.section})`;
  if (source === 'upstream') return new ProxyError('protocolError', source, detail);
  if (rejection.status === 431) return new ProxyError('headersTooLarge', source, detail);
  if (rejection.status === 408) return new ProxyError('headerTimeout', source, detail);
  if (rejection.status === 414) return new ProxyError('uriTooLong', source, detail);
  return new ProxyError('malformed', source, detail);
}
