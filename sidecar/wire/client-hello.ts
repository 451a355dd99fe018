// The server name in a TLS ClientHello, read and not answered: what a connection that is never ended here is routed by.
// Strict (RFC 8446 §4.1.2 and §5.1, RFC 6066 §3): a hello that this and the server behind might read differently is
// refused. With an encrypted hello (ECH) the outer name counts, since it is the one that whoever passes it on may read.

/** Why there is no name. A closed set: these are label values. */
export type HelloMistake =
  | 'record' // not handshake records of TLS, or one of a length that no record has
  | 'tooLarge'
  | 'notClientHello'
  | 'malformed' // lengths that do not add up
  | 'serverName' // more than one name, an empty one, an address, or no host name
  | 'noServerName';

export type ServerName = { readonly name: string } | { readonly mistake: HelloMistake };

/**
 * Bytes of a hello with its handshake header. Hybrid post-quantum keys need 1.2 KiB and ECH some more; Node's own limit
 * and the default of OpenSSL's `max_client_hello` is 16 KiB.
 */
export const CLIENT_HELLO_BYTES_MAX = 16 * 1024;

const HANDSHAKE = 0x16;
const RECORD_HEADER_BYTES = 5;
/** RFC 8446 §5.1. */
const RECORD_BYTES_MAX = 2 ** 14;
const CLIENT_HELLO = 1;
const HELLO_HEADER_BYTES = 4;
const EXTENSION_SERVER_NAME = 0;
const HOST_NAME = 0;
const SESSION_ID_BYTES_MAX = 32;

/** RFC 1123 §2.1, of which a name is at most 253 characters long. Underscores stand in names that people use. */
const HOST = /^(?=.{1,253}$)[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)*$/i;
/** RFC 6066 §3: literal addresses are not permitted. A last label of digits makes an address of any name (WHATWG URL). */
const ADDRESS = /(?:^|\.)(?:\d+|0x[0-9a-f]*)$/i;

/** Gathers a hello from bytes in whatever pieces; nothing is copied but the hello itself, and each byte once. */
export class HelloReader {
  private readonly record = Buffer.alloc(RECORD_HEADER_BYTES);
  private recordHeld = 0;
  /** Of the record under way. */
  private recordLeft = 0;
  private hello: Buffer = Buffer.alloc(512);
  private held = 0;

  /** Null: more is needed. After anything else it is done. Bytes behind the hello are not looked at. */
  push(chunk: Uint8Array): ServerName | null {
    let at = 0;
    while (at < chunk.length) {
      if (this.recordLeft === 0) {
        this.record[this.recordHeld++] = chunk[at++] as number;
        const mistake = this.checkRecord();
        if (mistake !== null) return { mistake };
        continue;
      }
      const take = Math.min(this.recordLeft, chunk.length - at);
      this.take(chunk.subarray(at, at + take));
      this.recordLeft -= take;
      at += take;
      const done = this.checkHello();
      if (done !== null) return done;
    }
    return null;
  }

  /** As each byte comes, so that what is no TLS is known at its first one. */
  private checkRecord(): HelloMistake | null {
    const { record, recordHeld } = this;
    if (record[0] !== HANDSHAKE) return 'record';
    // RFC 8446 §5.1: 0x0301 in a first hello and 0x0303 otherwise; nothing is to be made of it but that it is TLS.
    if (recordHeld >= 2 && record[1] !== 3) return 'record';
    if (recordHeld >= 3 && (record[2] as number) > 4) return 'record';
    if (recordHeld < RECORD_HEADER_BYTES) return null;
    const length = record.readUInt16BE(3);
    // §5.1: no handshake record is empty.
    if (length === 0 || length > RECORD_BYTES_MAX) return 'record';
    this.recordHeld = 0;
    this.recordLeft = length;
    return null;
  }

  private take(bytes: Uint8Array): void {
    // No more than a hello may have: the rest of a record is not looked at.
    const wanted = Math.min(bytes.length, CLIENT_HELLO_BYTES_MAX - this.held);
    if (this.held + wanted > this.hello.length) {
      const larger = Buffer.alloc(Math.min(CLIENT_HELLO_BYTES_MAX, (this.held + wanted) * 2));
      this.hello.copy(larger, 0, 0, this.held);
      this.hello = larger;
    }
    this.hello.set(bytes.subarray(0, wanted), this.held);
    this.held += wanted;
  }

  private checkHello(): ServerName | null {
    const { hello, held } = this;
    if (hello[0] !== CLIENT_HELLO) return { mistake: 'notClientHello' };
    if (held < HELLO_HEADER_BYTES) return null;
    const length = HELLO_HEADER_BYTES + hello.readUIntBE(1, 3);
    if (length > CLIENT_HELLO_BYTES_MAX) return { mistake: 'tooLarge' };
    if (held < length) return null;
    // §5.1: messages before the keys change do not share a record; who would answer the second is not known.
    if (held > length || this.recordLeft > 0) return { mistake: 'malformed' };
    return serverNameOf(hello.subarray(HELLO_HEADER_BYTES, length));
  }
}

/** A walk over fields with their lengths; false or -1 once one would leave its parent. */
class Fields {
  private at = 0;
  private readonly bytes: Buffer;

  constructor(bytes: Buffer) {
    this.bytes = bytes;
  }

  get over(): boolean {
    return this.at === this.bytes.length;
  }

  uint(size: 1 | 2): number {
    if (this.at + size > this.bytes.length) return -1;
    const value = this.bytes.readUIntBE(this.at, size);
    this.at += size;
    return value;
  }

  /** The next `length` bytes; null: there are not so many. */
  next(length: number): Buffer | null {
    if (length < 0 || this.at + length > this.bytes.length) return null;
    const part = this.bytes.subarray(this.at, this.at + length);
    this.at += length;
    return part;
  }

  /** A vector: its length in so many bytes, then itself. */
  vector(size: 1 | 2): Buffer | null {
    return this.next(this.uint(size));
  }
}

function serverNameOf(body: Buffer): ServerName {
  const fields = new Fields(body);
  const malformed = { mistake: 'malformed' } as const;
  if (fields.next(2 + 32) === null) return malformed;
  const session = fields.vector(1);
  if (session === null || session.length > SESSION_ID_BYTES_MAX) return malformed;
  const ciphers = fields.vector(2);
  if (ciphers === null || ciphers.length < 2 || ciphers.length % 2 !== 0) return malformed;
  const compressions = fields.vector(1);
  if (compressions === null || compressions.length === 0) return malformed;
  // TLS 1.2 without any extension ends here.
  if (fields.over) return { mistake: 'noServerName' };
  const extensions = fields.vector(2);
  if (extensions === null || !fields.over) return malformed;
  return findServerName(new Fields(extensions));
}

function findServerName(extensions: Fields): ServerName {
  const seen = new Set<number>();
  let found: ServerName = { mistake: 'noServerName' };
  while (!extensions.over) {
    const type = extensions.uint(2);
    const data = extensions.vector(2);
    // RFC 8446 §4.2: each type once, and which of two counts would be anybody's guess.
    if (data === null || seen.has(type)) return { mistake: 'malformed' };
    seen.add(type);
    if (type === EXTENSION_SERVER_NAME) found = hostNameOf(new Fields(data));
  }
  return found;
}

function hostNameOf(data: Fields): ServerName {
  const list = data.vector(2);
  if (list === null || !data.over) return { mistake: 'malformed' };
  const names = new Fields(list);
  const type = names.uint(1);
  const name = names.vector(2);
  if (name === null) return { mistake: 'malformed' };
  // RFC 6066 §3: one name of each type, and only one type was ever defined.
  if (type !== HOST_NAME || !names.over) return { mistake: 'serverName' };
  const text = name.toString('latin1');
  if (!HOST.test(text) || ADDRESS.test(text)) return { mistake: 'serverName' };
  return { name: text.toLowerCase() };
}
