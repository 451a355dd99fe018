// Who is at the other end of a gRPC call, by the certificate of its connection and by nothing that it says.

import type { ServerDuplexStream, ServerUnaryCall } from '@grpc/grpc-js';
import { uriName } from '../../proto/kit/san.ts';
import { type Identity, parseSpiffeId, type SpiffeId } from '../../proto/kit/spiffe.ts';

type AnyCall = Pick<ServerDuplexStream<unknown, unknown> | ServerUnaryCall<unknown, unknown>, 'getAuthContext'>;

/** The attested peer, or why there is none. */
export type Attested =
  | { readonly ok: true; readonly spiffeId: SpiffeId; readonly identity: Identity }
  | { readonly ok: false; readonly error: string };

/**
 * The peer's identity. TLS has verified chain and key during the handshake, or there is no certificate here; the
 * dates are held against `nowMs` again, since a connection lives longer than a handshake.
 */
export function attestPeer(call: AnyCall, trustDomain: string, nowMs: number): Attested {
  const certificate = call.getAuthContext().sslPeerCertificate;
  if (certificate === undefined) {
    return refuse('no client certificate of this mesh; get one by Sign with a join token, and connect with it');
  }
  if (nowMs > Date.parse(certificate.valid_to) || nowMs < Date.parse(certificate.valid_from)) {
    return refuse(`the client certificate is valid from ${certificate.valid_from} to ${certificate.valid_to}`);
  }
  const name = uriName(certificate.raw);
  if (name === null) return refuse('the client certificate has no SPIFFE identity');
  const parsed = parseSpiffeId(name);
  if (!parsed.ok) return refuse(parsed.error);
  if (parsed.identity.trustDomain !== trustDomain) {
    return refuse(`${parsed.id} is not of this trust domain, ${trustDomain}`);
  }
  return { ok: true, spiffeId: parsed.id, identity: parsed.identity };
}

function refuse(error: string): Attested {
  return { ok: false, error };
}
