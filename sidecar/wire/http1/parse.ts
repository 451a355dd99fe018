// The incremental HTTP/1.1 parser of both roles: strict (RFC 9110, RFC 9112), one pass over a head's bytes, one
// latin1 string per head, body bytes by reference. It stops where it is told (pause, end of a message) and never throws.

import { asBuffer } from '../bytes.ts';
import { type HeaderList, judgeTrailers } from '../headers.ts';
import { slabOf } from '../slab.ts';
import type { Head } from '../stream.ts';
import { ChunkLine } from './chunk-line.ts';
import { parseFields } from './fields.ts';
import * as limits from './limits.ts';
import type { HeadReader } from './message-head.ts';
import * as follows from './message-head.ts';
import type { Rejection } from './reject.ts';
import { REJECT } from './reject.ts';
import { RequestReader } from './request-head.ts';
import { ResponseReader } from './response-head.ts';
import { refusalOf, Section } from './section.ts';

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
  private readonly sink: ParserSink;
  private readonly reader: HeadReader;
  /** The reader in the response role, else null. */
  private readonly responses: ResponseReader | null;
  private state = HEAD;
  private running = false;
  private chunk: Buffer = EMPTY;
  private at = 0;
  /** Bytes of `chunk` that the sink was given: all others are in strings. */
  private given = 0;
  private waiting: Uint8Array[] = [];
  private waitingBytes = 0;
  private readonly section: Section;
  private readonly chunkLine = new ChunkLine();
  private bodyLeft = 0;
  private emptyLineBytes = 0;

  /** `scheme`: what requests in origin form get; empty in the response role. */
  constructor(role: 'request' | 'response', sink: ParserSink, scheme: string) {
    this.responses = role === 'response' ? new ResponseReader() : null;
    this.reader = this.responses ?? new RequestReader(scheme);
    this.section = new Section();
    this.sink = sink;
  }

  /** After a head: whether the connection may carry another message after this one (RFC 9112 §9.3). */
  get keepAlive(): boolean {
    return this.reader.keepAlive;
  }

  /** After a head: HTTP/1.1, not 1.0. */
  get isHttp11(): boolean {
    return this.reader.isHttp11;
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
  }

  /** What follows is raw data. */
  tunnel(): void {
    this.state = RAW;
  }

  /** Response role: what the answer answers, which decides its framing (RFC 9112 §6.3). `upgrade`: the token asked for, or empty. */
  expect(method: string, upgrade: string): void {
    this.responses?.expect(method, upgrade);
    this.next();
  }

  private fill(): boolean {
    if (this.at < this.chunk.length) return true;
    slabOf(this.chunk)?.noteParsed(this.chunk.length - this.given);
    const next = this.waiting.shift();
    if (next === undefined) {
      this.chunk = EMPTY;
      this.at = 0;
      return false;
    }
    this.waitingBytes -= next.length;
    this.chunk = asBuffer(next);
    this.at = 0;
    this.given = 0;
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
    this.given += take;
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
    const { section } = this;
    const { facts } = this.reader;
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
    this.at = section.collect(this.chunk, this.at, REJECT.headTooLarge);
    if (!section.isWhole) return section.rejection;
    const headers: HeaderList = [];
    const { bytes, from, to } = section;
    section.release();
    const refused = parseFields(bytes, from, to, bytes.toString('latin1', from, to), from, headers, facts);
    if (refused !== null) return refusalOf(bytes, from, to, refused);
    if (facts.chunked || facts.host !== null || !judgeTrailers(headers)) return REJECT.trailerField;
    this.state = DONE;
    this.sink.onMessageEnd(headers);
    return null;
  }

  private head(): Rejection | null {
    const { section, reader } = this;
    if (section.heldBytes === 0) {
      const first = this.chunk[this.at] as number;
      const isEmptyLine = first === 0x0d || first === 0x0a || this.emptyLineBytes % 2 === 1;
      if (isEmptyLine && this.responses === null) return this.emptyLine(first);
      const refused = reader.refuseFirst(first);
      if (refused !== null) return refused;
    }
    this.at = section.collect(this.chunk, this.at, this.responses === null ? REJECT.uriTooLong : REJECT.headTooLarge);
    if (!section.isWhole) return section.rejection;
    const { bytes, from, to } = section;
    section.release();
    const refused = reader.read(bytes, from, to);
    return refused === null ? this.startBody() : refusalOf(bytes, from, to, refused);
  }

  /** Hands the head on; what follows it is known before, since the owner may answer at once. */
  private startBody(): null {
    const { facts } = this.reader;
    const head = this.reader.takeHead();
    let end = false;
    switch (this.reader.follows) {
      case follows.NOTHING:
        this.state = DONE;
        end = true;
        break;
      case follows.LENGTH:
        this.bodyLeft = facts.contentLength;
        this.state = LENGTH;
        break;
      case follows.CHUNKS:
        this.chunkLine.start();
        this.state = CHUNK_LINE;
        break;
      case follows.RAW:
        this.state = RAW;
        break;
      case follows.ANSWER:
        this.state = DONE;
        break;
    }
    this.sink.onHead(head, end);
    return null;
  }

  /** Whether the body that is read now has a declared length. */
  get isCounted(): boolean {
    return this.state === LENGTH;
  }

  private emptyLine(byte: number): Rejection | null {
    if (byte !== (this.emptyLineBytes % 2 === 0 ? 0x0d : 0x0a)) return byte === 0x0a ? REJECT.bareLf : REJECT.bareCr;
    this.at++;
    return ++this.emptyLineBytes > limits.EMPTY_LINE_BYTES_MAX ? REJECT.emptyLines : null;
  }
}
