// weft.identity.v1.IdentityService over grpc-js: finds the credential of a call and hands it to the issuer.

import { create } from '@bufbuild/protobuf';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import {
  Metadata,
  type ServerUnaryCall,
  type sendUnaryData,
  status,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js';
import {
  IdentityService,
  type SignRequest,
  type SignResponse,
  SignResponseSchema,
} from '../../proto/gen/weft/identity/v1/identity_pb.js';
import { grpcDefinition } from '../../proto/kit/grpc-definition.ts';
import { attestPeer } from './attest.ts';
import { type Credential, type IssuerParts, issueCertificate } from './issuer.ts';

/** The definition for `server.addService`. */
export const IDENTITY_DEFINITION = grpcDefinition(IdentityService);

/** Hears of every answer, for metrics and logs. */
export interface SignObserver {
  onSigned(spiffeId: string, credential: Credential['kind'], expiresAtMs: number): void;
  onRefused(code: string, error: string): void;
  /** The disk or the signing itself failed. */
  onFailure(error: Error): void;
}

/** The implementation for `server.addService(IDENTITY_DEFINITION, …)`. */
export function identityService(
  parts: IssuerParts,
  now: () => number,
  observer: SignObserver,
): UntypedServiceImplementation {
  const sign = async (
    call: ServerUnaryCall<SignRequest, SignResponse>,
    answer: sendUnaryData<SignResponse>,
  ): Promise<void> => {
    const { csr, joinToken } = call.request;
    const credential = credentialOf(call, joinToken, parts, now());
    if ('error' in credential) {
      observer.onRefused('UNAUTHENTICATED', credential.error);
      answer({ code: status.UNAUTHENTICATED, details: credential.error });
      return;
    }
    const outcome = await issueCertificate(parts, credential, csr);
    if (!outcome.ok) {
      observer.onRefused(outcome.code, outcome.error);
      const metadata = new Metadata();
      // gRFC A6: the server's wish for the next attempt.
      if (outcome.retryAfterMs > 0) metadata.set('grpc-retry-pushback-ms', String(outcome.retryAfterMs));
      answer({ code: status[outcome.code], details: outcome.error, metadata });
      return;
    }
    const { chain, spiffeId, expiresAtMs } = outcome.issued;
    observer.onSigned(spiffeId, credential.kind, expiresAtMs);
    answer(
      null,
      create(SignResponseSchema, {
        certificateChain: [...chain],
        trustBundle: [...parts.authority.trustBundle],
        spiffeId,
        expiresAt: timestampFromMs(expiresAtMs),
      }),
    );
  };
  return {
    sign: (call: ServerUnaryCall<SignRequest, SignResponse>, answer: sendUnaryData<SignResponse>) => {
      sign(call, answer).catch((error: Error) => {
        observer.onFailure(error);
        answer({ code: status.INTERNAL, details: 'the control plane could not sign; its log says why' });
      });
    },
  };
}

function credentialOf(
  call: ServerUnaryCall<SignRequest, SignResponse>,
  joinToken: string,
  { authority, revocations }: IssuerParts,
  nowMs: number,
): Credential | { readonly error: string } {
  if (joinToken !== '') return { kind: 'joinToken', text: joinToken };
  const attested = attestPeer(call, authority.trustDomain, nowMs, revocations);
  return attested.ok
    ? { kind: 'peerCertificate', spiffeId: attested.spiffeId, serial: attested.serial }
    : { error: attested.error };
}
