// ClientHellos byte by byte: well-formed unless a test says otherwise, and those that real stacks send.

/** A vector with its length in `size` bytes. */
export function vector(size: 1 | 2 | 3, content: Uint8Array, length = content.length): Buffer {
  const head = Buffer.alloc(size);
  head.writeUIntBE(length, 0, size);
  return Buffer.concat([head, content]);
}

export function extension(type: number, data: Uint8Array): Buffer {
  const head = Buffer.alloc(2);
  head.writeUInt16BE(type);
  return Buffer.concat([head, vector(2, data)]);
}

export function serverName(name: string | Uint8Array): Buffer {
  const entry = Buffer.concat([Buffer.of(0), vector(2, Buffer.from(name as Uint8Array))]);
  return extension(0, vector(2, entry));
}

/** RFC 8701. */
export const GREASE = extension(0x0a0a, Buffer.of(0));

/** Extensions of a hello, or its parts one by one. */
export interface HelloParts {
  readonly session?: Uint8Array;
  readonly ciphers?: Uint8Array;
  readonly compressions?: Uint8Array;
  /** Null: the field is not there at all. */
  readonly extensions?: readonly Uint8Array[] | null;
  readonly rest?: Uint8Array;
}

/** The handshake message. */
export function clientHello(parts: HelloParts = {}): Buffer {
  const { session = Buffer.alloc(32, 1), ciphers = Buffer.of(0x0a, 0x0a, 0x13, 0x01), extensions = [] } = parts;
  const body = Buffer.concat([
    Buffer.of(3, 3),
    Buffer.alloc(32, 7),
    vector(1, session),
    vector(2, ciphers),
    vector(1, parts.compressions ?? Buffer.of(0)),
    extensions === null ? Buffer.alloc(0) : vector(2, Buffer.concat(extensions)),
    parts.rest ?? Buffer.alloc(0),
  ]);
  return Buffer.concat([Buffer.of(1), vector(3, body)]);
}

/** Handshake bytes in records of at most `size`. */
export function records(handshake: Uint8Array, size = 16_384, version = 1): Buffer {
  const all: Buffer[] = [];
  for (let at = 0; at < handshake.length; at += size) {
    all.push(Buffer.of(0x16, 3, version), vector(2, handshake.subarray(at, at + size)));
  }
  return Buffer.concat(all);
}
