// A wire resource in the form in which it is sent: encoded once, its bytes shared by every stream that gets it.

import { createHash } from 'node:crypto';
import { type DescMessage, type MessageShape, toBinary } from '@bufbuild/protobuf';

export interface EncodedResource {
  /** `type.googleapis.com/weft.mesh.v1.Service` and so on. */
  readonly typeUrl: string;
  /** Complete: `namespace/name`. */
  readonly name: string;
  /** Follows from the bytes, so that equal content has an equal version on every replica and after every restart. */
  readonly version: string;
  readonly bytes: Uint8Array;
}

/** Hexadecimal digits of the version: 64 bits of SHA-256, far beyond any chance collision between two states of one resource. */
const VERSION_DIGITS = 16;

export function typeUrlOf(schema: DescMessage): string {
  return `type.googleapis.com/${schema.typeName}`;
}

export function encodeResource<T extends DescMessage>(
  schema: T,
  name: string,
  message: MessageShape<T>,
): EncodedResource {
  const bytes = toBinary(schema, message);
  const version = createHash('sha256').update(bytes).digest('hex').slice(0, VERSION_DIGITS);
  return { typeUrl: typeUrlOf(schema), name, version, bytes };
}
