// What a policy is after decoding: a typed message, who it is, and where each of its fields was written.
import type { MessageShape } from '@bufbuild/protobuf';
import { ModelSchema, ProviderSchema } from '../../proto/gen/weft/policy/v1/ai_pb.js';
import { AuthorizationSchema } from '../../proto/gen/weft/policy/v1/authorization_pb.js';
import { RouteSchema } from '../../proto/gen/weft/policy/v1/route_pb.js';
import { ServiceSchema } from '../../proto/gen/weft/policy/v1/service_pb.js';
import { TelemetrySchema } from '../../proto/gen/weft/policy/v1/telemetry_pb.js';

/** The closed table of policy kinds: `kind` as written in a file, and its schema. */
export const SCHEMAS = {
  Service: ServiceSchema,
  Route: RouteSchema,
  Authorization: AuthorizationSchema,
  Provider: ProviderSchema,
  Model: ModelSchema,
  Telemetry: TelemetrySchema,
} as const;

/** A kind of policy. */
export type Kind = keyof typeof SCHEMAS;

/** One mistake in the policies, as `weft check` and `GetStatus` show it. */
export interface Problem {
  /** Relative to the policy directory. */
  readonly file: string;
  /** From 1; 0 when the file as a whole is meant. */
  readonly line: number;
  readonly column: number;
  /** e.g. `spec.rules[0].backends[1].service`, in proto3 JSON names; empty for the document itself. */
  readonly fieldPath: string;
  readonly message: string;
  /** What to write instead. */
  readonly fix: string;
  /** `kind/namespace/name` where it is known, else empty. */
  readonly resource: string;
}

/** Where something was written: line and column from 1. */
export interface Position {
  readonly line: number;
  readonly column: number;
}

/** The source of one document. */
export interface Place {
  /** Relative to the policy directory. */
  readonly file: string;
  /** Where a field's value was written; the closest parent that was written when it was not. */
  at(fieldPath: string): Position;
}

/** A decoded policy. */
export type Resource<K extends Kind = Kind> = K extends Kind
  ? {
      readonly kind: K;
      /** `default` when the file says none. */
      readonly namespace: string;
      readonly name: string;
      readonly message: MessageShape<(typeof SCHEMAS)[K]>;
      readonly place: Place;
      /** PEM text of the `ca_file` of a Provider or Service; empty without one. */
      readonly caPem: string;
    }
  : never;

/** `kind/namespace/name`: unique in a mesh. */
export function resourceId(resource: Resource): string {
  return `${resource.kind}/${resource.namespace}/${resource.name}`;
}

/** The problem `message` with the field `fieldPath` of `resource`, at the place where it was written. */
export function problemAt(resource: Resource, fieldPath: string, message: string, fix: string): Problem {
  const { line, column } = resource.place.at(fieldPath);
  return { file: resource.place.file, line, column, fieldPath, message, fix, resource: resourceId(resource) };
}
