// Getting a certificate: a key made here, a request signed by it, and weft.identity.v1 Sign with the credential there
// is: the join token the first time, the certificate in use ever after.

import { create } from '@bufbuild/protobuf';
import { makeGenericClientConstructor, type ServiceError, status } from '@grpc/grpc-js';
import { IdentityService, SignRequestSchema, type SignResponse } from '../../proto/gen/weft/identity/v1/identity_pb.js';
import { grpcDefinition } from '../../proto/kit/grpc-definition.ts';
import { decodeJoinToken } from '../../proto/kit/join-token.ts';
import type { HostPort } from '../options.ts';
import { CHANNEL_OPTIONS, controlPlaneCredentials, target } from './channel.ts';
import { fetchPinnedRoot } from './first-contact.ts';
import { createWorkloadKey, type WorkloadKey } from './key.ts';
import { checkIdentity, type HeldIdentity, pemOf } from './stored.ts';

/** One Sign: a handshake and a signature, on a control plane that all ask at once. */
const SIGN_TIMEOUT_MS = 10_000;

/** Why there is no certificate; `final`: asking again with the same credential is of no use. */
export class SignError extends Error {
  readonly final: boolean;

  constructor(message: string, final: boolean) {
    super(message);
    this.final = final;
  }
}

const IdentityClient = makeGenericClientConstructor(grpcDefinition(IdentityService), 'identity');

interface SignClient {
  close(): void;
  sign(
    request: unknown,
    options: { deadline: number },
    answer: (error: ServiceError | null, response?: SignResponse) => void,
  ): void;
}

/**
 * Joins with a token's text. Pass the same `key` on every attempt: the control plane lets the key that redeemed a
 * token try again, so that a lost answer costs no token. Throws SignError.
 */
export async function join(where: HostPort, tokenText: string, key: WorkloadKey): Promise<HeldIdentity> {
  const decoded = decodeJoinToken(tokenText);
  if (!decoded.ok) throw new SignError(decoded.error, true);
  const { token } = decoded;
  if (Date.now() > token.expiresAtMs) {
    const ended = new Date(token.expiresAtMs).toISOString();
    throw new SignError(`the join token ended at ${ended}; make a new one with weft token`, true);
  }
  let rootPem: string;
  try {
    rootPem = (await fetchPinnedRoot(where.host, where.port, token.rootKeyHash)).toString();
  } catch (error) {
    const { message } = error as Error;
    throw new SignError(message, message.includes('not the one that the join token names'));
  }
  const channel = controlPlaneCredentials(token.trustDomain, [rootPem], null);
  const identity = await sign(where, channel, key, tokenText.trim());
  const { trustDomain, namespace, serviceAccount } = token;
  if (identity.spiffeId !== `spiffe://${trustDomain}/ns/${namespace}/sa/${serviceAccount}`) {
    throw new SignError(`the control plane certified ${identity.spiffeId}, which the join token does not name`, true);
  }
  return identity;
}

/** A new key and certificate for an identity that is still valid. Throws SignError. */
export async function renew(where: HostPort, current: HeldIdentity): Promise<HeldIdentity> {
  const channel = controlPlaneCredentials(current.trustDomain, current.rootsPem, current);
  const renewed = await sign(where, channel, await createWorkloadKey(), '');
  if (renewed.spiffeId === current.spiffeId) return renewed;
  throw new SignError(`the control plane certified ${renewed.spiffeId} in place of ${current.spiffeId}`, false);
}

/** A key for {@link join}. */
export const newKey: () => Promise<WorkloadKey> = createWorkloadKey;

async function sign(
  where: HostPort,
  channel: ReturnType<typeof controlPlaneCredentials>,
  key: WorkloadKey,
  joinToken: string,
): Promise<HeldIdentity> {
  const client = new IdentityClient(target(where), channel, CHANNEL_OPTIONS) as unknown as SignClient;
  try {
    const request = create(SignRequestSchema, { csr: key.csr, joinToken });
    const response = await new Promise<SignResponse>((resolve, reject) => {
      client.sign(request, { deadline: Date.now() + SIGN_TIMEOUT_MS }, (error, answer) => {
        if (error !== null || answer === undefined) reject(signError(where, error));
        else resolve(answer);
      });
    });
    const chain = response.certificateChain.map(pemOf).join('');
    const roots = response.trustBundle.map(pemOf).join('');
    const checked = checkIdentity(key.privateKeyPem, chain, roots, Date.now());
    if (!checked.ok) throw new SignError(`the control plane sent no usable identity: ${checked.error}`, false);
    return checked.identity;
  } finally {
    client.close();
  }
}

function signError(where: HostPort, error: ServiceError | null): SignError {
  const what = error === null ? 'no answer' : error.details;
  const refused = error?.code === status.UNAUTHENTICATED || error?.code === status.INVALID_ARGUMENT;
  return new SignError(
    `control plane ${target(where)} ${refused ? 'refused to sign' : 'did not sign'}: ${what}`,
    refused,
  );
}
