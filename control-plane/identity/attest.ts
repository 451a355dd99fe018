// Who is at the other end of a gRPC call, by the certificate of its connection and by nothing that it says.

import { createHash, timingSafeEqual } from 'node:crypto';
import type { ServerDuplexStream, ServerUnaryCall } from '@grpc/grpc-js';
import { uriName } from '../../proto/kit/san.ts';
import { type Identity, parseSpiffeId, type SpiffeId } from '../../proto/kit/spiffe.ts';
import type { RevocationStore } from './revocations.ts';

type AnyCall = Pick<ServerDuplexStream<unknown, unknown> | ServerUnaryCall<unknown, unknown>, 'getAuthContext'>;

/** The attested peer, or why there is none. */
export type Attested =
  | {
      readonly ok: true;
      readonly spiffeId: SpiffeId;
      readonly identity: Identity;
      /** Of its certificate; empty without one. */
      readonly serial: string;
    }
  | { readonly ok: false; readonly error: string };

/**
 * The peer's identity. TLS has verified chain and key during the handshake, or there is no certificate here; the
 * dates are held against `nowMs` again, since a connection lives longer than a handshake, and so are revocations.
 */
export function attestPeer(
  call: AnyCall,
  trustDomain: string,
  nowMs: number,
  revocations: Pick<RevocationStore, 'refusal'>,
): Attested {
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
  const serial = certificate.serialNumber;
  const why = revocations.refusal({ serial, spiffeId: parsed.id });
  return why === null ? { ok: true, spiffeId: parsed.id, identity: parsed.identity, serial } : refuse(why);
}

/** The metadata key by which a tool without TLS says whose view it asks for. */
export const TOOL_IDENTITY = 'weft-identity';

/**
 * For tools on this machine, where there is no TLS: whoever holds the admin token, which reads everything by the API
 * anyway, may ask for the view of any identity of this trust domain (`weft-identity: spiffe://…`).
 */
export function attestTool(
  call: Pick<ServerDuplexStream<unknown, unknown>, 'metadata'>,
  adminToken: string,
  trustDomain: string,
): Attested {
  const [credential = ''] = call.metadata.get('authorization');
  const digest = (text: string): Buffer => createHash('sha256').update(text).digest();
  if (!timingSafeEqual(digest(String(credential)), digest(`Bearer ${adminToken}`))) {
    return refuse(
      'without TLS there is no certificate: give `authorization: Bearer …`, the admin token of the data directory',
    );
  }
  const [name = ''] = call.metadata.get(TOOL_IDENTITY);
  const parsed = parseSpiffeId(String(name));
  if (!parsed.ok) return refuse(`say whose view it is to be by ${TOOL_IDENTITY}: ${parsed.error}`);
  if (parsed.identity.trustDomain !== trustDomain)
    return refuse(`${parsed.id} is not of this trust domain, ${trustDomain}`);
  return { ok: true, spiffeId: parsed.id, identity: parsed.identity, serial: '' };
}

function refuse(error: string): Attested {
  return { ok: false, error };
}
