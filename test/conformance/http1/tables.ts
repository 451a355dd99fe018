// The tables of this folder: what an HTTP/1.1 connection must make of malformed and ambiguous bytes, one row a case,
// read from the JSON files beside this one.
//
// Bytes are text in which each character, U+0000 to U+00FF, is one byte (Latin-1): bytes from 0x80 on are written
// "\u0080" to "\u00ff". A list of pieces is joined; {"repeat": "a", "times": 3} is one piece, for what is too long to
// be written out.

import { readdirSync, readFileSync } from 'node:fs';

type Piece = string | { readonly repeat: string; readonly times: number };
type Text = string | readonly Piece[];

/** A request as whoever authorizes it and forwards it gets to know it. */
export interface AcceptedRequest {
  /** `METHOD SCHEME AUTHORITY PATH`, with `-` for an empty part. */
  readonly line: string;
  /** `name: value`, in order. Default none. */
  readonly fields?: readonly string[];
  /** Default empty. */
  readonly body?: Text;
  /** `name: value`, in order. Default none. */
  readonly trailers?: readonly string[];
  /** The protocol that an upgrade asks for. Default none. */
  readonly upgrade?: string;
  /** Its end never comes, or is refused. Default false. */
  readonly unfinished?: boolean;
}

/** What a client sends on one connection, and what the server role makes of it. Every request is answered at its end: 204, or 403 for CONNECT. */
export interface RequestRow {
  readonly name: string;
  /** The section of an RFC that rules it, or a CVE that it stands for. */
  readonly cite: string;
  readonly bytes: Text;
  /** Default none. */
  readonly accepted?: readonly AcceptedRequest[];
  /** The label of the metric when what follows the accepted requests is refused. Default: nothing is. */
  readonly refused?: string;
  /** Of the refusal's answer. Default 400. */
  readonly status?: number;
  /** Whether the connection ends behind the last answer, as it does behind a refusal. Default false. */
  readonly closes?: boolean;
  /** The bytes end in the middle of a head. Default false. */
  readonly half?: boolean;
}

/** A response as the pool and whoever relays it get to know it. */
export interface AcceptedResponse {
  readonly status: number;
  /** Informational heads before it. Default none. */
  readonly interim?: readonly number[];
  readonly fields?: readonly string[];
  readonly body?: Text;
  readonly trailers?: readonly string[];
  /** The protocol that was switched to. Default none. */
  readonly upgrade?: string;
  /** Its end never comes, or is refused. Default false. */
  readonly unfinished?: boolean;
}

/** What an upstream answers on one connection, and what the client role makes of it. */
export interface ResponseRow {
  readonly name: string;
  readonly cite: string;
  /** Of the request that is answered; default GET. */
  readonly method?: string;
  /** The protocol that the request asked to switch to. Default none. */
  readonly asked?: string;
  readonly bytes: Text;
  /** The upstream ends the connection behind the bytes. Default false. */
  readonly fin?: boolean;
  readonly accepted?: AcceptedResponse;
  /** The label of the metric. Default: nothing is refused. */
  readonly refused?: string;
  /** Whether the connection may carry another request. Default false. */
  readonly reusable?: boolean;
}

function load<Row>(role: 'request' | 'response'): readonly Row[] {
  const rows: Row[] = [];
  for (const file of readdirSync(import.meta.dirname).sort()) {
    if (!file.startsWith(role) || !file.endsWith('.json')) continue;
    rows.push(...(JSON.parse(readFileSync(`${import.meta.dirname}/${file}`, 'utf8')) as Row[]));
  }
  return rows;
}

/** Every row of `request-*.json`. */
export const REQUESTS = load<RequestRow>('request');
/** Every row of `response-*.json`. */
export const RESPONSES = load<ResponseRow>('response');

/** A text of a row, written out; each character is one byte. */
export function textOf(text: Text): string {
  if (typeof text === 'string') return text;
  return text.map((piece) => (typeof piece === 'string' ? piece : piece.repeat.repeat(piece.times))).join('');
}
