// A server under test, as Connect's conformance suite starts one for each combination of features: its own reference
// server, on a port where sidecars expect it, and the suite is told to call the sidecars. What it wants and gets goes over
// stdin and stdout, each message behind its length in four bytes (ServerCompatRequest and ServerCompatResponse of
// connectrpc.conformance.v1).
//
// Arguments: the reference server's port; where HTTP/1.1 is to be called, and where HTTP/2.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Readable } from 'node:stream';
import { BinaryReader, BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import { programPath } from './programs.ts';

/** ServerCompatRequest.http_version; 1 is HTTP/1.1. */
const HTTP_VERSION = 2;
/** HTTP_VERSION_2. */
const VERSION_2 = 2;
/** ServerCompatResponse. */
const HOST = 1;
const PORT = 2;

const [referencePort = '', http1Port, http2Port] = process.argv.slice(2);
const stdio = ['pipe', 'pipe', 'inherit'] as const;
const reference = spawn(programPath('connect-reference-server'), ['--port', referencePort], { stdio: [...stdio] });
process.once('SIGTERM', () => {
  reference.once('exit', () => process.exit(0));
  reference.kill('SIGTERM');
});

const wanted = await readMessage(process.stdin);
reference.stdin.write(framed(wanted));
await readMessage(reference.stdout);
const port = Number(readVarint(wanted, HTTP_VERSION) === VERSION_2 ? http2Port : http1Port);
const answer = new BinaryWriter().tag(HOST, WireType.LengthDelimited).string('127.0.0.1');
process.stdout.write(framed(answer.tag(PORT, WireType.Varint).uint32(port).finish()));

/** The first message of the stream. */
async function readMessage(stream: Readable): Promise<Uint8Array> {
  let bytes = Buffer.alloc(0);
  while (bytes.length < 4 || bytes.length < 4 + bytes.readUInt32BE(0)) {
    const [chunk] = (await once(stream, 'data')) as [Buffer];
    bytes = Buffer.concat([bytes, chunk]);
  }
  stream.pause();
  return bytes.subarray(4, 4 + bytes.readUInt32BE(0));
}

function framed(message: Uint8Array): Buffer {
  const bytes = Buffer.alloc(4 + message.length);
  bytes.writeUInt32BE(message.length, 0);
  bytes.set(message, 4);
  return bytes;
}

/** The number in field `wantedField`; 0 when it is not there. */
function readVarint(message: Uint8Array, wantedField: number): number {
  const reader = new BinaryReader(message);
  while (reader.pos < reader.len) {
    const [field, type] = reader.tag();
    if (field === wantedField && type === WireType.Varint) return reader.uint32();
    reader.skip(type);
  }
  return 0;
}
