// What both codecs do with bytes that came from anywhere.

/** The same memory as a Buffer: `onread`, tunnels and tests hand over plain arrays. */
export function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
