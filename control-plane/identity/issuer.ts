// The life of one certificate request, in the order that wastes least: prove who asks, then spend from the limit, then
// verify the request, and only then use up the single-use token. weft.identity.v1 Sign is this, less the transport.

import { decodeJoinToken, type JoinToken } from '../../proto/kit/join-token.ts';
import { formatSpiffeId, parseSpiffeId } from '../../proto/kit/spiffe.ts';
import { type Authority, type Issued, isReserved } from './authority.ts';
import { checkCsr } from './csr.ts';
import type { RevocationStore } from './revocations.ts';
import type { SignLimit } from './sign-limit.ts';
import type { TokenStore } from './tokens.ts';

/** What proves the caller: a join token's text, or its verified client certificate. */
export type Credential =
  | { readonly kind: 'joinToken'; readonly text: string }
  | { readonly kind: 'peerCertificate'; readonly spiffeId: string; readonly serial: string };

/** The certificate, or a refusal whose code is the gRPC status of the same name. */
export type SignOutcome =
  | { readonly ok: true; readonly issued: Issued }
  | {
      readonly ok: false;
      readonly code: 'UNAUTHENTICATED' | 'INVALID_ARGUMENT' | 'RESOURCE_EXHAUSTED';
      readonly error: string;
      /** After how long to ask again; 0 where asking again does not help. */
      readonly retryAfterMs: number;
    };

/** The parts an issuer puts in order. */
export interface IssuerParts {
  readonly authority: Authority;
  readonly tokens: TokenStore;
  readonly revocations: Pick<RevocationStore, 'refusal'>;
  readonly limit: SignLimit;
  /** The DNS names that an attested workload's certificate gets, by what the policies say now. */
  readonly dnsNames: (namespace: string, serviceAccount: string) => readonly string[];
}

interface Attested {
  readonly ok: true;
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly token: JoinToken | null;
}

/** Signs `csr` (PKCS #10, DER) for whom the credential proves. Throws only when the disk fails or signing itself does. */
export async function issueCertificate(
  parts: IssuerParts,
  credential: Credential,
  csr: Uint8Array,
): Promise<SignOutcome> {
  const attested = attest(parts, credential);
  if (!attested.ok) return refuse('UNAUTHENTICATED', attested.error);
  const waitMs = parts.limit.take();
  if (waitMs > 0) return refuse('RESOURCE_EXHAUSTED', `signing is rate-limited; ask again in ${waitMs} ms`, waitMs);
  const checked = await checkCsr(csr);
  if (!checked.ok) return refuse('INVALID_ARGUMENT', checked.error);
  if (attested.token !== null) {
    // Checked again: another request may have used it while this one's signature was verified.
    const redeemed = parts.tokens.redeem(attested.token, new Uint8Array(checked.publicKey.rawData));
    if (!redeemed.ok) return refuse('UNAUTHENTICATED', redeemed.error);
  }
  const { namespace, serviceAccount } = attested;
  const dnsNames = parts.dnsNames(namespace, serviceAccount);
  const issued = await parts.authority.sign(checked.publicKey, namespace, serviceAccount, dnsNames);
  return { ok: true, issued };
}

function attest(parts: IssuerParts, credential: Credential): Attested | { readonly ok: false; readonly error: string } {
  if (credential.kind === 'joinToken') {
    const decoded = decodeJoinToken(credential.text);
    if (!decoded.ok) return decoded;
    const result = parts.tokens.check(decoded.token);
    if (!result.ok) return result;
    const { namespace, serviceAccount } = result;
    const spiffe = formatSpiffeId({ trustDomain: parts.authority.trustDomain, namespace, serviceAccount });
    if (!spiffe.ok) return spiffe;
    // Before the token is used up: it is good again once the revocation is lifted.
    const why = parts.revocations.refusal({ serial: '', spiffeId: spiffe.id });
    return why === null ? { ...result, token: decoded.token } : { ok: false, error: why };
  }
  const peer = parseSpiffeId(credential.spiffeId);
  if (!peer.ok) return peer;
  const { trustDomain, namespace, serviceAccount } = peer.identity;
  if (trustDomain !== parts.authority.trustDomain) {
    return { ok: false, error: `${peer.id} is not of this trust domain, ${parts.authority.trustDomain}` };
  }
  if (isReserved(namespace, serviceAccount)) {
    return { ok: false, error: `${peer.id} is the control plane's own identity` };
  }
  const why = parts.revocations.refusal({ serial: credential.serial, spiffeId: peer.id });
  return why === null ? { ok: true, namespace, serviceAccount, token: null } : { ok: false, error: why };
}

function refuse(
  code: 'UNAUTHENTICATED' | 'INVALID_ARGUMENT' | 'RESOURCE_EXHAUSTED',
  error: string,
  retryAfterMs = 0,
): SignOutcome {
  return { ok: false, code, error, retryAfterMs };
}
