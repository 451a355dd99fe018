// What the heads of requests and responses have in common for the parser: whoever reads one says what follows it.

import type { Head } from '../stream.ts';
import type { FieldFacts } from './fields.ts';
import type { Rejection } from './reject.ts';
import { REJECT } from './reject.ts';

/** Nothing follows: the head is the whole message. */
export const NOTHING = 0;
/** As many bytes as Content-Length says. */
export const LENGTH = 1;
export const CHUNKS = 2;
/** Whatever comes until the connection ends. */
export const RAW = 3;
/** It depends on the answer (CONNECT, Upgrade). */
export const ANSWER = 4;
/** Another head of the same message: this one was informational. */
export const HEAD = 5;

/** Reads the heads of one connection, one after the other. */
export interface HeadReader {
  /** After `read`: which of the above follows the head. */
  readonly follows: number;
  /** After `read`: HTTP/1.1, not 1.0. */
  readonly isHttp11: boolean;
  /** After `read`: whether the connection may carry another message after this one (RFC 9112 §9.3). */
  readonly keepAlive: boolean;
  readonly facts: FieldFacts;
  /** Whether bytes that begin so may be a head. Those of another protocol are refused at once, not when their "head" ends. */
  refuseFirst(byte: number): Rejection | null;
  /** Reads `bytes[from, to)`: whole lines, each with its CRLF, without the empty one. */
  read(bytes: Buffer, from: number, to: number): Rejection | null;
  /** The head that was read, once: an idle connection holds none. */
  takeHead(): Head;
}

/** The digit behind `HTTP/1.` in `text` at `at`, or -1 when it is neither 0 nor 1, or no version stands there. */
export function minorVersion(text: string, at: number): number {
  if (text.startsWith('HTTP/1.1', at)) return 1;
  return text.startsWith('HTTP/1.0', at) ? 0 : -1;
}

/** Why what stands at `at` is not taken for a version; `otherwise`: it is none. */
export function versionRejection(text: string, at: number, otherwise: Rejection): Rejection {
  return /^HTTP\/[0-9]\.[0-9]/.test(text.slice(at, at + 8)) ? REJECT.version : otherwise;
}

/** Two framings, or one that the version does not know: two parsers would see two ends of the body. */
export function framingRejection(facts: FieldFacts, isHttp11: boolean): Rejection | null {
  if (!facts.chunked) return null;
  if (facts.contentLength !== -1) return REJECT.lengthAndCoding;
  return isHttp11 ? null : REJECT.codingInOldVersion;
}

/** Removes Content-Length, which is there once at most. */
export function dropLength(headers: string[]): void {
  const at = headers.indexOf('content-length');
  if (at !== -1 && at % 2 === 0) headers.splice(at, 2);
}
