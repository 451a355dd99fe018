// weft.api.v1.MeshService: what people and scripts may ask, answered from what the other parts hold.

import { create, type DescMessage, fromBinary, toJson, toJsonString } from '@bufbuild/protobuf';
import { durationMs, timestampFromMs } from '@bufbuild/protobuf/wkt';
import { Code, ConnectError, type ServiceImpl } from '@connectrpc/connect';
import {
  CreateJoinTokenResponseSchema,
  GetStatusResponseSchema,
  ListResourcesResponseSchema,
  type MeshService,
  RenderResponseSchema,
  type RevokeRequest,
  RevokeResponseSchema,
} from '../../proto/gen/weft/api/v1/api_pb.js';
import { EndpointSchema, RevocationSchema, SnapshotSchema } from '../../proto/gen/weft/mesh/v1/resources_pb.js';
import { encodeJoinToken } from '../../proto/kit/join-token.ts';
import { quoted } from '../../proto/kit/mistake.ts';
import { formatSpiffeId, parseSpiffeId } from '../../proto/kit/spiffe.ts';
import type { Session } from '../discovery/sessions.ts';
import { type RevocationStore, type Revoked, type RevokeResult, revocationName } from '../identity/revocations.ts';
import type { TokenStore } from '../identity/tokens.ts';
import type { EncodedResource } from '../index/encoded.ts';
import { encodeRevocation } from '../index/policy-needs.ts';
import { SCHEMAS } from '../model/resource.ts';
import type { PolicyState } from '../source/watch.ts';
import { findKind, unknownKind } from './kinds.ts';

/** Where the answers come from. */
export interface ApiParts {
  readonly trustDomain: string;
  readonly tokens: TokenStore;
  readonly revocations: RevocationStore;
  /** After each change of them: tells sidecars, ends what is refused. */
  onRevocations(): void;
  /** Everything, as it is at this moment. */
  status(): {
    readonly policies: PolicyState;
    readonly sessions: readonly Session[];
    /** By peer address. */
    readonly workloadIds: ReadonlyMap<string, string>;
  };
  /** What the sidecar of an identity gets. */
  needsOf(spiffeId: string): readonly EncodedResource[];
  /** Registered workloads. */
  endpoints(): readonly { readonly service: string; readonly resource: EncodedResource }[];
  /** The disk failed, or a bug. */
  onFailure(error: Error): void;
}

/** Version of the snapshot format (weft.mesh.v1.Snapshot). */
const SNAPSHOT_FORMAT = 1;

/** 24 h, as the proto says: a token asked for over the network is used today. */
const API_TOKEN_TTL_MS_MAX = 24 * 60 * 60 * 1000;

/** The implementation for `router.service`. Errors carry Connect's codes and say what to do. */
export function meshService(parts: ApiParts): ServiceImpl<typeof MeshService> {
  return {
    getStatus() {
      const { policies, sessions, workloadIds } = parts.status();
      return create(GetStatusResponseSchema, {
        revision: BigInt(policies.revision),
        problems: policies.problems.map((problem) => ({ ...problem })),
        sidecars: sessions.map(({ stream, peer, connectedAtMs }) => ({
          spiffeId: stream.spiffeId,
          workloadId: workloadIds.get(peer) ?? '',
          connectedAt: timestampFromMs(connectedAtMs),
          inSync: stream.inSync,
          resources: stream.resourceCount,
          rejections: stream.rejections.map((rejection) => ({ ...rejection })),
        })),
      });
    },
    listResources({ kind: written, namespace, name }) {
      const kind = findKind(written);
      if (kind === null) throw new ConnectError(unknownKind(written), Code.InvalidArgument);
      const all =
        kind === 'Endpoint'
          ? listEndpoints(parts)
          : kind === 'Revocation'
            ? listRevocations(parts)
            : listPolicies(parts.status().policies, kind);
      const wanted = all.filter(
        (one) => (namespace === '' || one.namespace === namespace) && (name === '' || one.name === name),
      );
      return create(ListResourcesResponseSchema, { resourcesJson: wanted.map(({ json }) => JSON.stringify(json)) });
    },
    render({ namespace, serviceAccount }) {
      const spiffe = formatSpiffeId({
        trustDomain: parts.trustDomain,
        namespace: namespace || 'default',
        serviceAccount,
      });
      if (!spiffe.ok) throw new ConnectError(spiffe.error, Code.InvalidArgument);
      const resources = parts
        .needsOf(spiffe.id)
        .map(({ typeUrl, name, version, bytes }) => ({ typeUrl, name, version, resource: bytes }));
      const snapshot = create(SnapshotSchema, { format: SNAPSHOT_FORMAT, spiffeId: spiffe.id, resources });
      return create(RenderResponseSchema, { snapshotJson: toJsonString(SnapshotSchema, snapshot) });
    },
    createJoinToken({ namespace, serviceAccount, ttl }) {
      for (const [what, name] of [
        ['namespace', namespace || 'default'],
        ['service account', serviceAccount],
      ] as const) {
        if (name.length <= LABEL_CHARS_MAX && LABEL.test(name)) continue;
        const rule = `1 to ${LABEL_CHARS_MAX} of a-z, 0-9 and -, with no - first or last`;
        throw new ConnectError(`no Service can name the ${what} ${quoted(name)}: write ${rule}`, Code.InvalidArgument);
      }
      const ttlMs = ttl === undefined ? undefined : durationMs(ttl);
      if (ttlMs !== undefined && ttlMs > API_TOKEN_TTL_MS_MAX) {
        throw new ConnectError('a token lives at most 24 h; ask for less with --ttl', Code.InvalidArgument);
      }
      let issued: ReturnType<TokenStore['issue']>;
      try {
        issued = parts.tokens.issue(namespace || 'default', serviceAccount, ttlMs);
      } catch (error) {
        parts.onFailure(error as Error);
        throw new ConnectError('the token could not be stored; the log of the control plane says why', Code.Internal);
      }
      if (!issued.ok) throw new ConnectError(issued.error, Code.InvalidArgument);
      return create(CreateJoinTokenResponseSchema, {
        token: encodeJoinToken(issued.token),
        expiresAt: timestampFromMs(issued.token.expiresAtMs),
      });
    },
    revoke({ subject, namespace, reason, lift }) {
      const named = revokedBy(parts, subject, namespace || 'default');
      let result: RevokeResult;
      try {
        result = lift ? parts.revocations.lift(named) : parts.revocations.revoke(named, reason);
      } catch (error) {
        parts.onFailure(error as Error);
        throw new ConnectError('it could not be stored; the log of the control plane says why', Code.Internal);
      }
      if (!result.ok) throw new ConnectError(result.error, Code.InvalidArgument);
      parts.onRevocations();
      const { expiresAtMs } = result.revocation;
      return create(RevokeResponseSchema, {
        name: revocationName(result.revocation),
        ...(lift || expiresAtMs === 0 ? {} : { expiresAt: timestampFromMs(expiresAtMs) }),
        sidecars: parts.status().sessions.length,
      });
    },
  };
}

function revokedBy(parts: ApiParts, subject: RevokeRequest['subject'], namespace: string): Revoked {
  if (subject.case === 'serial') return { serial: subject.value, spiffeId: '' };
  if (subject.case === undefined) return { serial: '', spiffeId: '' };
  const spiffe = formatSpiffeId({ trustDomain: parts.trustDomain, namespace, serviceAccount: subject.value });
  if (!spiffe.ok) throw new ConnectError(spiffe.error, Code.InvalidArgument);
  return { serial: '', spiffeId: spiffe.id };
}

/** Namespaces and accounts as policies can name them (metadata.proto, service.proto), stricter than SPIFFE's segments. */
const LABEL = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/;
const LABEL_CHARS_MAX = 63;

interface Listed {
  readonly namespace: string;
  readonly name: string;
  readonly json: unknown;
}

function listPolicies(policies: PolicyState, kind: string): Listed[] {
  return policies.resources
    .filter((resource) => resource.kind === kind)
    .map((resource) => {
      const schema: DescMessage = SCHEMAS[resource.kind];
      const json = { kind, ...(toJson(schema, resource.message) as object) };
      return { namespace: resource.namespace, name: resource.name, json };
    });
}

/** A revocation's name is the service account, or the serial number, which is of no namespace. */
function listRevocations(parts: ApiParts): Listed[] {
  return parts.revocations.list().map((revocation) => {
    const parsed = parseSpiffeId(revocation.spiffeId);
    const name = parsed.ok ? parsed.identity.serviceAccount : revocation.serial;
    const namespace = parsed.ok ? parsed.identity.namespace : '';
    const message = fromBinary(RevocationSchema, encodeRevocation(revocation).bytes);
    const json = { kind: 'Revocation', metadata: { name, namespace }, spec: toJson(RevocationSchema, message) };
    return { namespace, name, json };
  });
}

/** An endpoint's name is that of its workload; its namespace that of its Service. */
function listEndpoints(parts: ApiParts): Listed[] {
  return parts.endpoints().map(({ service, resource }) => {
    const message = fromBinary(EndpointSchema, resource.bytes);
    const json = {
      kind: 'Endpoint',
      metadata: { name: resource.name.slice(service.length + 1), namespace: service.split('/')[0] },
      spec: toJson(EndpointSchema, message),
    };
    return { namespace: json.metadata.namespace ?? '', name: json.metadata.name, json };
  });
}
