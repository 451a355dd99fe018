// gRPC's outcome in HTTP's words: the canonical status table of google/rpc/code.proto, and google.rpc.Status as JSON.

import { fromBinary, type JsonObject, type JsonValue, type Registry, toJson } from '@bufbuild/protobuf';
import { BinaryReader } from '@bufbuild/protobuf/wire';
import { AnySchema } from '@bufbuild/protobuf/wkt';
import { type HeaderList, headerValue } from '../wire/headers.ts';

/** How a call ended. */
export interface GrpcStatus {
  /** google.rpc.Code; 0 is OK. */
  code: number;
  message: string;
  /** google.rpc.Status.details in JSON; a type that the descriptors lack has its bytes in base64 as `value`. */
  details: JsonValue[];
}

/** By google.rpc.Code, 0-16. */
const HTTP_STATUS = [200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401];

/** HTTP status for a gRPC code; 500 for one that does not exist. */
export function httpStatus(code: number): number {
  return HTTP_STATUS[code] ?? 500;
}

/** gRPC code for a response without grpc-status (grpc/doc/http-grpc-status-mapping.md). */
export function codeOfHttp(status: number): number {
  switch (status) {
    case 400:
      return 13;
    case 401:
      return 16;
    case 403:
      return 7;
    case 404:
      return 12;
    case 429:
    case 502:
    case 503:
    case 504:
      return 14;
    default:
      return 2;
  }
}

/** Reads grpc-status, grpc-message and grpc-status-details-bin; null when there is no status. */
export function readStatus(headers: HeaderList, registry: Registry): GrpcStatus | null {
  const code = headerValue(headers, 'grpc-status');
  if (code === undefined) return null;
  const bytes = headerValue(headers, 'grpc-status-details-bin');
  return {
    code: /^\d{1,9}$/.test(code) ? Number(code) : 2,
    message: percentDecode(headerValue(headers, 'grpc-message') ?? ''),
    details: bytes === undefined ? [] : readDetails(Buffer.from(bytes, 'base64'), registry),
  };
}

/** google.rpc.Status in JSON. */
export function statusJson(status: GrpcStatus): string {
  return JSON.stringify({ code: status.code, message: status.message, details: status.details });
}

/** Field 3 of google.rpc.Status, read by hand: a descriptor for three fields would not be clearer. */
function readDetails(bytes: Uint8Array, registry: Registry): JsonValue[] {
  const details: JsonValue[] = [];
  try {
    const reader = new BinaryReader(bytes);
    while (reader.pos < reader.len) {
      const [field, wireType] = reader.tag();
      if (field === 3 && wireType === 2) details.push(detail(reader.bytes(), registry));
      else reader.skip(wireType, field);
    }
  } catch {
    // Broken details do not make the status unreadable: code and message stand in their own fields.
  }
  return details;
}

function detail(bytes: Uint8Array, registry: Registry): JsonValue {
  const any = fromBinary(AnySchema, bytes);
  try {
    return toJson(AnySchema, any, { registry });
  } catch {
    const unknown: JsonObject = { '@type': any.typeUrl, value: Buffer.from(any.value).toString('base64') };
    return unknown;
  }
}

function percentDecode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
