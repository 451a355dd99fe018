// A request's head: its line (RFC 9112 §3), its fields, where it goes, and what follows it.

import type { HeaderList } from '../headers.ts';
import { Head } from '../stream.ts';
import { newFacts, parseFields } from './fields.ts';
import * as limits from './limits.ts';
import type { HeadReader } from './message-head.ts';
import {
  ANSWER,
  CHUNKS,
  dropLength,
  framingRejection,
  LENGTH,
  minorVersion,
  NOTHING,
  versionRejection,
} from './message-head.ts';
import { TOKEN } from './names.ts';
import type { Rejection } from './reject.ts';
import { REJECT } from './reject.ts';
import type { Target } from './target.ts';
import { parseTarget } from './target.ts';

const NO_HEAD = Head.request('', '', '', '', []);

/** Reads the request heads of one connection. */
export class RequestReader implements HeadReader {
  follows = NOTHING;
  isHttp11 = true;
  keepAlive = true;
  readonly facts = newFacts();
  private readonly scheme: string;
  private readonly place: Target = { scheme: '', authority: '', path: '' };
  private head = NO_HEAD;
  private method = '';
  private target = '';
  /** Behind the request line. */
  private fieldsFrom = 0;

  /** `scheme`: what requests in origin form get. */
  constructor(scheme: string) {
    this.scheme = scheme;
  }

  refuseFirst(byte: number): Rejection | null {
    return TOKEN[byte] === 0 ? REJECT.method : null;
  }

  read(bytes: Buffer, from: number, to: number): Rejection | null {
    const text = bytes.toString('latin1', from, to);
    const refused = this.line(bytes, from, text);
    if (refused !== null) return refused;
    const headers: HeaderList = [];
    const wrong = parseFields(bytes, this.fieldsFrom, to, text, from, headers, this.facts) ?? this.meaning(headers);
    // Parts of the head's text hold all of it.
    this.target = '';
    this.facts.host = null;
    return wrong;
  }

  takeHead(): Head {
    const { head } = this;
    this.head = NO_HEAD;
    return head;
  }

  private line(bytes: Buffer, base: number, text: string): Rejection | null {
    let i = base;
    while (TOKEN[bytes[i] as number] !== 0) i++;
    if (bytes[i] !== 0x20 || i - base > limits.METHOD_BYTES_MAX) return REJECT.method;
    this.method = text.slice(0, i - base);
    const from = ++i;
    while ((bytes[i] as number) > 0x20 && (bytes[i] as number) < 0x7f && bytes[i] !== 0x23) i++;
    if (i - from > limits.URI_BYTES_MAX) return REJECT.uriTooLong;
    if (bytes[i] !== 0x20) return bytes[i] === 0x0d ? REJECT.requestLine : REJECT.target;
    if (i === from) return REJECT.requestLine;
    this.target = text.slice(from - base, i - base);
    const minor = minorVersion(text, i + 1 - base);
    if (minor === -1) return versionRejection(text, i + 1 - base, REJECT.requestLine);
    this.isHttp11 = minor === 1;
    i += 9;
    if (bytes[i] !== 0x0d || bytes[i + 1] !== 0x0a) return bytes[i] === 0x0a ? REJECT.bareLf : REJECT.requestLine;
    this.fieldsFrom = i + 2;
    return null;
  }

  private meaning(headers: HeaderList): Rejection | null {
    const { facts, place, method, isHttp11 } = this;
    if (facts.host === null && isHttp11) return REJECT.hostMissing;
    place.scheme = this.scheme;
    const refused = parseTarget(method, this.target, facts.host, place) ?? framingRejection(facts, isHttp11);
    if (refused !== null) return refused;
    this.keepAlive = !facts.wantsClose && (isHttp11 || facts.wantsKeepAlive);
    const hasBody = facts.chunked || facts.contentLength > 0;
    this.head = Head.request(method, place.scheme, place.authority, place.path, headers);
    if (method === 'CONNECT') {
      if (hasBody) return REJECT.connectBody;
      this.follows = ANSWER;
      dropLength(headers);
      return null;
    }
    if (facts.wantsUpgrade && isHttp11 && !hasBody && this.isUpgrade()) {
      this.follows = ANSWER;
      // A length of 0 would end the tunnel that an HTTP/2 upstream makes of it.
      dropLength(headers);
      return null;
    }
    this.follows = facts.chunked ? CHUNKS : facts.contentLength > 0 ? LENGTH : NOTHING;
    return null;
  }

  /** h2c is never relayed (it would smuggle requests past every policy), nor an upgrade behind a body: both may be ignored. */
  private isUpgrade(): boolean {
    const upgrade = this.facts.upgrade.toLowerCase();
    if (!/^(?!h2c?$)[a-z0-9./_-]+$/.test(upgrade)) return false;
    this.head.protocol = upgrade;
    return true;
  }
}
