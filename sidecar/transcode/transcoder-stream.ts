// JSON over HTTP on the client's side, unary gRPC on the other. A request that is gRPC already passes untouched.

import { fromBinary, type JsonObject, toJson } from '@bufbuild/protobuf';
import { isObject } from '../../proto/kit/is-object.ts';
import { type Match, type MethodIndex, matchMethod } from '../../proto/kit/transcoded-methods.ts';
import { HeldChunks } from '../base/held.ts';
import { LIMITS } from '../base/limits.ts';
import { asBuffer } from '../wire/bytes.ts';
import type { ProxyError } from '../wire/error.ts';
import { type HeaderList, headerValue, removeHeader, setHeader } from '../wire/headers.ts';
import type { Head, HttpStream } from '../wire/stream.ts';
import { BufferedStream } from './buffered-stream.ts';
import { encodeRequest } from './json.ts';
import { codeOfHttp, type GrpcStatus, httpStatus, readStatus, statusJson } from './status.ts';

const INVALID_ARGUMENT = 3;
const NOT_FOUND = 5;
const RESOURCE_EXHAUSTED = 8;
const INTERNAL = 13;
const UNAVAILABLE = 14;
const JSON_TYPE = 'application/json';
/** gRPC's length-prefixed message: one byte of flags, four of length. */
const FRAME_HEAD_BYTES = 5;

/** See BufferedStream for how to connect it. */
export class TranscoderStream extends BufferedStream {
  private readonly index: MethodIndex;
  private readonly responseBytesMax: number;
  private match: Match | null = null;
  private status = 0;
  private headStatus: GrpcStatus | null = null;
  private readonly frames = new HeldChunks();
  private frameBytes = 0;
  private answered = false;

  /** @param bodyBytesMax of a request's and of a response's body; see LIMITS.bufferedBodyBytesMax. */
  constructor(downstream: HttpStream, index: MethodIndex, bodyBytesMax: number = LIMITS.bufferedBodyBytesMax) {
    super(downstream, bodyBytesMax);
    this.index = index;
    this.responseBytesMax = bodyBytesMax;
  }

  protected override wants(head: Head): boolean {
    return !(headerValue(head.headers, 'content-type') ?? '').toLowerCase().startsWith('application/grpc');
  }

  protected override onTooLarge(bodyBytesMax: number): void {
    this.answer(413, RESOURCE_EXHAUSTED, `the body is larger than ${bodyBytesMax} bytes`);
  }

  protected override onOverloaded(): void {
    this.answer(503, UNAVAILABLE, 'too many messages are under way here; try again later');
  }

  protected override onGone(): void {
    this.answered = true;
    this.frames.drop();
  }

  protected override onRequest(head: Head, body: Uint8Array): void {
    const queryAt = head.path.indexOf('?');
    const path = queryAt === -1 ? head.path : head.path.slice(0, queryAt);
    this.match = matchMethod(this.index, head.method, path);
    if (this.match === null) return this.answer(404, NOT_FOUND, `no method is bound to ${head.method} ${path}`);
    const encoding = headerValue(head.headers, 'content-encoding') ?? 'identity';
    if (encoding !== 'identity') return this.answer(415, INVALID_ARGUMENT, `a body in ${encoding} is not understood`);
    const query = queryAt === -1 ? '' : head.path.slice(queryAt + 1);
    const message = encodeRequest(this.match, query, body, this.index.registry);
    if ('field' in message) {
      const violation = { field: message.field, description: message.message };
      const detail = { '@type': 'type.googleapis.com/google.rpc.BadRequest', fieldViolations: [violation] };
      const text = message.field === '' ? message.message : `${message.field}: ${message.message}`;
      return this.answer(400, INVALID_ARGUMENT, text, [detail]);
    }
    const { method } = this.match.binding;
    head.method = 'POST';
    head.path = `/${method.parent.typeName}/${method.name}`;
    for (const name of ['content-length', 'accept', 'accept-encoding']) removeHeader(head.headers, name);
    setHeader(head.headers, 'content-type', 'application/grpc');
    setHeader(head.headers, 'te', 'trailers');
    const frame = new Uint8Array(FRAME_HEAD_BYTES + message.length);
    new DataView(frame.buffer).setUint32(1, message.length);
    frame.set(message, FRAME_HEAD_BYTES);
    this.forward(head, frame);
  }

  protected override responseHead(head: Head, end: boolean): void {
    this.status = head.status;
    this.headStatus = readStatus(head.headers, this.index.registry);
    if (end) this.conclude(null);
  }

  protected override responseData(chunk: Uint8Array, end: boolean): boolean {
    this.frameBytes += chunk.length;
    if (this.isTooLarge) this.answer(500, INTERNAL, `the response is larger than ${this.responseBytesMax} bytes`);
    else this.frames.push(chunk);
    if (end) this.conclude(null);
    else if (this.isTooLarge) this.onDiscard();
    return true;
  }

  private get isTooLarge(): boolean {
    return this.frameBytes > this.responseBytesMax + FRAME_HEAD_BYTES;
  }

  protected override responseEnd(trailers: HeaderList | null): void {
    this.conclude(trailers);
  }

  protected override responseReset(error: ProxyError): void {
    // Nothing was written yet, so the client can still be told in its own terms.
    if (this.answered || error.source === 'downstream') this.downstream.reset(error);
    else this.answer(503, UNAVAILABLE, 'the upstream failed before its answer was complete');
  }

  /** The client has its answer, and the rest of the response is of no use: upstream is to stop. */
  protected onDiscard(): void {}

  private conclude(trailers: HeaderList | null): void {
    const status = (trailers === null ? null : readStatus(trailers, this.index.registry)) ?? this.headStatus;
    if (status === null) {
      const code = this.status === 200 ? INTERNAL : codeOfHttp(this.status);
      return this.answer(httpStatus(code), code, `the upstream answered ${this.status} without a gRPC status`);
    }
    if (status.code !== 0) return this.answer(httpStatus(status.code), status.code, status.message, status.details);
    const text = this.decode();
    if (text === null) this.answer(500, INTERNAL, 'the upstream answered with a message that cannot be read');
    else this.say(200, text);
  }

  /** The one message, as JSON; null when it is compressed (we never offer that), cut, or not the only one. */
  private decode(): string | null {
    const bytes = asBuffer(this.frames.take());
    if (bytes.length < FRAME_HEAD_BYTES || bytes[0] !== 0) return null;
    if (bytes.readUInt32BE(1) !== bytes.length - FRAME_HEAD_BYTES || this.match === null) return null;
    const { method, responseBody } = this.match.binding;
    try {
      const message = fromBinary(method.output, bytes.subarray(FRAME_HEAD_BYTES));
      // A part that is unset must still be its field's JSON, so then defaults are written out.
      const json = toJson(method.output, message, {
        registry: this.index.registry,
        alwaysEmitImplicit: responseBody !== '',
      });
      const field = method.output.fields.find((one) => one.name === responseBody);
      if (field === undefined || !isObject(json)) return JSON.stringify(json);
      return JSON.stringify((json as JsonObject)[field.jsonName] ?? null);
    } catch {
      return null;
    }
  }

  private answer(status: number, code: number, message: string, details: GrpcStatus['details'] = []): void {
    this.say(status, statusJson({ code, message, details }));
  }

  private say(status: number, text: string): void {
    if (this.answered) return;
    this.answered = true;
    this.frames.drop();
    this.reply(status, JSON_TYPE, text);
  }
}
