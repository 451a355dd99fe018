// A response's head: its status line (RFC 9112 §4), its fields, and what follows it, which depends on the request, too.

import type { HeaderList } from '../headers.ts';
import { Head } from '../stream.ts';
import { newFacts, parseFields } from './fields.ts';
import * as limits from './limits.ts';
import type { HeadReader } from './message-head.ts';
import {
  CHUNKS,
  dropLength,
  framingRejection,
  HEAD,
  LENGTH,
  minorVersion,
  NOTHING,
  RAW,
  versionRejection,
} from './message-head.ts';
import type { Rejection } from './reject.ts';
import { REJECT } from './reject.ts';

const NO_HEAD = Head.response(0, []);

/** Reads the response heads of one connection. */
export class ResponseReader implements HeadReader {
  follows = NOTHING;
  isHttp11 = true;
  keepAlive = true;
  readonly facts = newFacts();
  private head = NO_HEAD;
  private method = '';
  private upgradeAsked = '';
  private interimHeads = 0;
  /**
   * A head that has no body announced one. It ends there all the same (RFC 9112 §6.3), but whoever announces a body may
   * send it, too, late, and the next request would take it for its answer.
   */
  private mayHaveMore = false;
  private status = 0;
  /** Behind the status line. */
  private fieldsFrom = 0;

  /** What the answer answers, which decides its framing (RFC 9112 §6.3). `upgrade`: the token asked for, or empty. */
  expect(method: string, upgrade: string): void {
    this.method = method;
    this.upgradeAsked = upgrade;
    this.interimHeads = 0;
    this.mayHaveMore = false;
  }

  refuseFirst(byte: number): Rejection | null {
    return byte === 0x48 ? null : REJECT.statusLine;
  }

  read(bytes: Buffer, from: number, to: number): Rejection | null {
    const text = bytes.toString('latin1', from, to);
    const refused = this.line(bytes, from, text);
    if (refused !== null) return refused;
    const { facts } = this;
    const headers: HeaderList = [];
    const wrong =
      parseFields(bytes, this.fieldsFrom, to, text, from, headers, facts) ?? framingRejection(facts, this.isHttp11);
    if (wrong !== null) return wrong;
    this.head = Head.response(this.status, headers);
    return this.meaning(headers);
  }

  takeHead(): Head {
    const { head } = this;
    this.head = NO_HEAD;
    return head;
  }

  private line(bytes: Buffer, base: number, text: string): Rejection | null {
    const minor = minorVersion(text, 0);
    if (minor === -1) return versionRejection(text, 0, REJECT.statusLine);
    this.isHttp11 = minor === 1;
    if (!/^ [1-9][0-9]{2}[ \r]/.test(text.slice(8, 13))) return REJECT.statusLine;
    this.status = Number(text.slice(9, 12));
    let i = base + 12;
    while (bytes[i] === 0x09 || ((bytes[i] as number) >= 0x20 && bytes[i] !== 0x7f)) i++;
    if (bytes[i] !== 0x0d || bytes[i + 1] !== 0x0a) return bytes[i] === 0x0a ? REJECT.bareLf : REJECT.statusLine;
    this.fieldsFrom = i + 2;
    return null;
  }

  private meaning(headers: HeaderList): Rejection | null {
    const { facts, status, method } = this;
    const hasBody = facts.chunked || facts.contentLength > 0;
    if (hasBody && (status < 200 || status === 204)) this.mayHaveMore = true;
    this.keepAlive = !this.mayHaveMore && !facts.wantsClose && (this.isHttp11 || facts.wantsKeepAlive);
    if (status < 200 && status !== 101) {
      if (++this.interimHeads > limits.INTERIM_HEADS_MAX) return REJECT.interimHeads;
      dropLength(headers);
      this.follows = HEAD;
      return null;
    }
    if (status === 101 || (method === 'CONNECT' && status < 300)) return this.tunnel(headers);
    if (status === 204) dropLength(headers);
    if (method === 'HEAD' || status === 204 || status === 304) this.follows = NOTHING;
    else if (facts.chunked) this.follows = CHUNKS;
    else if (facts.contentLength !== -1) this.follows = facts.contentLength > 0 ? LENGTH : NOTHING;
    else {
      this.keepAlive = false;
      this.follows = RAW;
    }
    return null;
  }

  private tunnel(headers: HeaderList): Rejection | null {
    if (this.status === 101) {
      this.head.protocol = this.facts.upgrade.toLowerCase();
      if (this.upgradeAsked === '' || this.head.protocol !== this.upgradeAsked) return REJECT.upgradeUnasked;
    }
    dropLength(headers);
    this.follows = RAW;
    return null;
  }
}
