// The incremental HTTP/1.1 parser of both roles: strict (RFC 9110, RFC 9112), one pass over a head's bytes, one
// latin1 string per head, body bytes by reference. It stops where it is told (pause, end of a message) and never throws.

import { asBuffer } from '../bytes.ts';
import { type HeaderList, judgeTrailers } from '../headers.ts';
import { Head } from '../stream.ts';
import { ChunkLine } from './chunk-line.ts';
import type { FieldFacts } from './fields.ts';
import { newFacts, parseFields } from './fields.ts';
import * as limits from './limits.ts';
import { TOKEN } from './names.ts';
import type { Rejection } from './reject.ts';
import { REJECT } from './reject.ts';
import { Section } from './section.ts';
import type { Target } from './target.ts';
import { parseTarget } from './target.ts';

/** What a parser says, in the order of StreamEvents; `end` is known with the head or with the last byte of a Content-Length. */
export interface ParserSink {
  onHead(head: Head, end: boolean): void;
  onData(chunk: Uint8Array, end: boolean): void;
  onMessageEnd(trailers: HeaderList | null): void;
}

const HEAD = 0;
const LENGTH = 1;
const CHUNK_LINE = 2;
const CHUNK_DATA = 3;
const TRAILERS = 4;
const RAW = 5;
/** The message is complete (or, for CONNECT and Upgrade, waits for its answer): nothing is parsed until next() or tunnel(). */
const DONE = 6;

const EMPTY = Buffer.alloc(0);

/** One direction of one connection. Requests stop at the end of each message until `next()`. */
export class Http1Parser {
  /** Set: nothing more is delivered until `continue()`. */
  paused = false;
  /** After a head: whether the connection may carry another message after this one (RFC 9112 §9.3). */
  keepAlive = true;
  /** After a head: HTTP/1.1, not 1.0. */
  isHttp11 = true;
  private readonly sink: ParserSink;
  private readonly isRequest: boolean;
  private readonly target: Target = { scheme: '', authority: '', path: '' };
  private readonly scheme: string;
  private readonly facts: FieldFacts = newFacts();
  private state = HEAD;
  private running = false;
  private chunk: Buffer = EMPTY;
  private at = 0;
  private waiting: Uint8Array[] = [];
  private waitingBytes = 0;
  private readonly section: Section;
  private readonly chunkLine = new ChunkLine();
  private bodyLeft = 0;
  private emptyLineBytes = 0;
  private interimHeads = 0;
  private method = '';
  private upgradeAsked = '';

  /** `scheme`: what requests in origin form get; empty in the response role. */
  constructor(role: 'request' | 'response', sink: ParserSink, scheme: string) {
    this.isRequest = role === 'request';
    this.section = new Section(this.isRequest);
    this.sink = sink;
    this.scheme = scheme;
  }

  /** No byte of a next message has come. */
  get isFresh(): boolean {
    return this.state === HEAD && this.section.heldBytes === 0 && this.buffered === 0;
  }

  /** A body that only the connection's end delimits, or a tunnel. */
  get isRaw(): boolean {
    return this.state === RAW;
  }

  /** The message is complete, or its continuation depends on the answer. */
  get isDone(): boolean {
    return this.state === DONE;
  }

  /** Bytes taken and not yet parsed. */
  get buffered(): number {
    return this.chunk.length - this.at + this.waitingBytes;
  }

  /** Takes bytes and delivers what they complete. The rejection, if any, is final. */
  execute(bytes: Uint8Array): Rejection | null {
    this.waiting.push(bytes);
    this.waitingBytes += bytes.length;
    return this.continue();
  }

  /** Goes on after `paused` was cleared, after next() or tunnel(). Inside a delivery it does nothing: the loop goes on by itself. */
  continue(): Rejection | null {
    if (this.running) return null;
    this.running = true;
    let rejection: Rejection | null = null;
    while (rejection === null && !this.paused && this.state !== DONE && this.fill()) rejection = this.step();
    this.running = false;
    return rejection;
  }

  /** The next message may be parsed. */
  next(): void {
    this.state = HEAD;
    this.emptyLineBytes = 0;
    this.interimHeads = 0;
  }

  /** What follows is raw data. */
  tunnel(): void {
    this.state = RAW;
  }

  /** Response role: what the answer answers, which decides its framing (RFC 9112 §6.3). `upgrade`: the token asked for, or empty. */
  expect(method: string, upgrade: string): void {
    this.method = method;
    this.upgradeAsked = upgrade;
    this.next();
  }

  private fill(): boolean {
    if (this.at < this.chunk.length) return true;
    const next = this.waiting.shift();
    if (next === undefined) {
      this.chunk = EMPTY;
      this.at = 0;
      return false;
    }
    this.waitingBytes -= next.length;
    this.chunk = asBuffer(next);
    this.at = 0;
    return true;
  }

  private step(): Rejection | null {
    switch (this.state) {
      case HEAD:
        return this.head();
      case LENGTH:
      case CHUNK_DATA:
      case RAW:
        this.body();
        return null;
      case TRAILERS:
        return this.trailers();
      default:
        return this.betweenChunks();
    }
  }

  private body(): void {
    const left = this.chunk.length - this.at;
    const take = this.state === RAW || left < this.bodyLeft ? left : this.bodyLeft;
    if (take === 0) return;
    const piece = take === this.chunk.length ? this.chunk : this.chunk.subarray(this.at, this.at + take);
    this.at += take;
    let end = false;
    if (this.state !== RAW) {
      this.bodyLeft -= take;
      if (this.bodyLeft === 0) {
        end = this.state === LENGTH;
        this.state = end ? DONE : CHUNK_LINE;
        if (!end) this.chunkLine.startEnd();
      }
    }
    this.sink.onData(piece, end);
  }

  private betweenChunks(): Rejection | null {
    const line = this.chunkLine;
    const rejection = line.take(this.chunk[this.at++] as number);
    if (rejection !== null || !line.isDone) return rejection;
    this.bodyLeft = line.size;
    this.state = line.size === 0 ? TRAILERS : CHUNK_DATA;
    return null;
  }

  private trailers(): Rejection | null {
    const { section, facts } = this;
    if (section.first(this.chunk, this.at) === 0x0d) {
      const byte = this.chunk[this.at] as number;
      // No trailers: CR and LF, perhaps in two chunks.
      if (section.heldBytes === 0) section.hold(this.chunk, this.at++, 1);
      else {
        section.heldBytes = 0;
        this.at++;
        if (byte !== 0x0a) return REJECT.bareCr;
        this.state = DONE;
        this.sink.onMessageEnd(null);
      }
      return null;
    }
    this.at = section.collect(this.chunk, this.at);
    if (!section.isWhole) return section.rejection;
    const headers: HeaderList = [];
    const { bytes, from, to } = section;
    section.release();
    const refused = parseFields(bytes, from, to, bytes.toString('latin1', from, to), from, headers, facts);
    if (refused !== null) return refused;
    if (facts.chunked || facts.host !== null || !judgeTrailers(headers)) return REJECT.trailerField;
    this.state = DONE;
    this.sink.onMessageEnd(headers);
    return null;
  }

  private head(): Rejection | null {
    const { section } = this;
    if (section.heldBytes === 0) {
      const first = this.chunk[this.at] as number;
      if (this.isRequest && (first === 0x0d || first === 0x0a || this.emptyLineBytes % 2 === 1))
        return this.emptyLine(first);
      // Bytes of another protocol are refused at once, not when their "head" ends.
      if (this.isRequest ? TOKEN[first] === 0 : first !== 0x48)
        return this.isRequest ? REJECT.method : REJECT.statusLine;
    }
    this.at = section.collect(this.chunk, this.at);
    if (!section.isWhole) return section.rejection;
    const { bytes, from, to } = section;
    section.release();
    const text = bytes.toString('latin1', from, to);
    return this.isRequest ? this.requestHead(bytes, from, to, text) : this.responseHead(bytes, from, to, text);
  }

  private emptyLine(byte: number): Rejection | null {
    if (byte !== (this.emptyLineBytes % 2 === 0 ? 0x0d : 0x0a)) return byte === 0x0a ? REJECT.bareLf : REJECT.bareCr;
    this.at++;
    return ++this.emptyLineBytes > limits.EMPTY_LINE_BYTES_MAX ? REJECT.emptyLines : null;
  }

  private requestHead(bytes: Buffer, base: number, to: number, text: string): Rejection | null {
    let i = base;
    while (TOKEN[bytes[i] as number] !== 0) i++;
    if (bytes[i] !== 0x20 || i - base > limits.METHOD_BYTES_MAX) return REJECT.method;
    const method = text.slice(0, i - base);
    const from = ++i;
    while ((bytes[i] as number) > 0x20 && (bytes[i] as number) < 0x7f && bytes[i] !== 0x23) i++;
    if (i - from > limits.URI_BYTES_MAX) return REJECT.uriTooLong;
    if (bytes[i] !== 0x20) return bytes[i] === 0x0d ? REJECT.requestLine : REJECT.target;
    if (i === from) return REJECT.requestLine;
    const target = text.slice(from - base, i - base);
    const rejection = this.version(text, i + 1 - base, REJECT.requestLine);
    if (rejection !== null) return rejection;
    i += 9;
    if (bytes[i] !== 0x0d || bytes[i + 1] !== 0x0a) return bytes[i] === 0x0a ? REJECT.bareLf : REJECT.requestLine;
    const headers: HeaderList = [];
    const refused = parseFields(bytes, i + 2, to, text, base, headers, this.facts);
    return refused !== null ? refused : this.request(method, target, headers);
  }

  private request(method: string, target: string, headers: HeaderList): Rejection | null {
    const facts = this.facts;
    if (facts.host === null && this.isHttp11) return REJECT.hostMissing;
    const place = this.target;
    place.scheme = this.scheme;
    const refused = parseTarget(method, target, facts.host, place) ?? this.framing();
    if (refused !== null) return refused;
    const hasBody = facts.chunked || facts.contentLength > 0;
    const head = Head.request(method, place.scheme, place.authority, place.path, headers);
    if (method === 'CONNECT') {
      if (hasBody) return REJECT.connectBody;
      dropLength(headers);
      this.state = DONE;
      this.sink.onHead(head, false);
      return null;
    }
    // h2c is never relayed (it would smuggle requests past every policy), nor an upgrade behind a body: both may be ignored.
    const upgrade = facts.upgrade.toLowerCase();
    if (facts.wantsUpgrade && this.isHttp11 && !hasBody && /^(?!h2c?$)[a-z0-9./_-]+$/.test(upgrade)) {
      head.protocol = upgrade;
      // A length of 0 would end the tunnel that an HTTP/2 upstream makes of it.
      dropLength(headers);
      this.state = DONE;
      this.sink.onHead(head, false);
      return null;
    }
    this.startBody(facts.contentLength > 0 ? facts.contentLength : 0);
    this.sink.onHead(head, !hasBody);
    return null;
  }

  private responseHead(bytes: Buffer, base: number, to: number, text: string): Rejection | null {
    const rejection = this.version(text, 0, REJECT.statusLine);
    if (rejection !== null) return rejection;
    if (!/^ [1-9][0-9]{2}[ \r]/.test(text.slice(8, 13))) return REJECT.statusLine;
    const status = Number(text.slice(9, 12));
    let i = base + 12;
    while (bytes[i] === 0x09 || ((bytes[i] as number) >= 0x20 && bytes[i] !== 0x7f)) i++;
    if (bytes[i] !== 0x0d || bytes[i + 1] !== 0x0a) return bytes[i] === 0x0a ? REJECT.bareLf : REJECT.statusLine;
    const headers: HeaderList = [];
    const refused = parseFields(bytes, i + 2, to, text, base, headers, this.facts) ?? this.framing();
    return refused !== null ? refused : this.response(status, headers);
  }

  private response(status: number, headers: HeaderList): Rejection | null {
    const facts = this.facts;
    const head = Head.response(status, headers);
    if (status < 200 && status !== 101) {
      if (++this.interimHeads > limits.INTERIM_HEADS_MAX) return REJECT.interimHeads;
      dropLength(headers);
      this.sink.onHead(head, false);
      return null;
    }
    if (status === 101 || (this.method === 'CONNECT' && status < 300)) {
      if (status === 101) {
        head.protocol = facts.upgrade.toLowerCase();
        if (this.upgradeAsked === '' || head.protocol !== this.upgradeAsked) return REJECT.upgradeUnasked;
      }
      dropLength(headers);
      this.state = RAW;
      this.sink.onHead(head, false);
      return null;
    }
    if (status === 204) dropLength(headers);
    if (this.method === 'HEAD' || status === 204 || status === 304) {
      // A coding on a 204 is forbidden; whoever sends one may send the body, too (RFC 9112 §6.1).
      if (status === 204 && facts.chunked) this.keepAlive = false;
      this.state = DONE;
      this.sink.onHead(head, true);
      return null;
    }
    if (facts.chunked || facts.contentLength !== -1) {
      this.startBody(facts.contentLength === -1 ? 0 : facts.contentLength);
      this.sink.onHead(head, !facts.chunked && facts.contentLength === 0);
      return null;
    }
    this.keepAlive = false;
    this.state = RAW;
    this.sink.onHead(head, false);
    return null;
  }

  private version(text: string, at: number, otherwise: Rejection): Rejection | null {
    if (text.startsWith('HTTP/1.1', at)) this.isHttp11 = true;
    else if (text.startsWith('HTTP/1.0', at)) this.isHttp11 = false;
    else return /^HTTP\/[0-9]\.[0-9]/.test(text.slice(at, at + 8)) ? REJECT.version : otherwise;
    return null;
  }

  private framing(): Rejection | null {
    const facts = this.facts;
    if (facts.chunked && facts.contentLength !== -1) return REJECT.lengthAndCoding;
    if (facts.chunked && !this.isHttp11) return REJECT.codingInOldVersion;
    this.keepAlive = !facts.wantsClose && (this.isHttp11 || facts.wantsKeepAlive);
    return null;
  }

  private startBody(length: number): void {
    if (this.facts.chunked) {
      this.chunkLine.start();
      this.state = CHUNK_LINE;
      return;
    }
    this.bodyLeft = length;
    this.state = length > 0 ? LENGTH : DONE;
  }
}

function dropLength(headers: HeaderList): void {
  const at = headers.indexOf('content-length');
  if (at !== -1 && at % 2 === 0) headers.splice(at, 2);
}
