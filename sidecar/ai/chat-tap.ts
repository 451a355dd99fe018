// Meters OpenAI chat completions without translating them: the request changes in its model name and in one option,
// the response passes through as it came. A stream ends in [DONE] or in an error that the client sees; the SDKs do
// not notice a missing [DONE], so only we can tell them (reference: OpenAI streaming, chat.completion.chunk).

import { isObject } from '../../proto/kit/is-object.ts';
import { HeldChunks, threadHeld } from '../base/held.ts';
import { isShallowJson } from '../base/json-depth.ts';
import { LIMITS } from '../base/limits.ts';
import { asBuffer } from '../wire/bytes.ts';
import { type Edit, insertMember, membersOf, splice } from './splice.ts';
import { CR, LF, SseReader } from './sse.ts';
import { parseUsage, type Usage } from './usage.ts';

/** What the client asked for. */
export interface ChatRequest {
  text: string;
  model: string;
  stream: boolean;
  /** Whether the client itself wants the usage chunk. */
  includeUsage: boolean;
  /** Where the model's name stands, and what forces usage upstream. */
  edits: Edit[];
  modelStart: number;
  modelEnd: number;
}

/** Why a request cannot be understood, in OpenAI's words: the message, and the parameter it is about. */
interface ChatRequestError {
  message: string;
  param: string | null;
}

/** Reads what metering needs from a request body. Errors are for a 400. */
export function parseChatRequest(body: Uint8Array): ChatRequest | ChatRequestError {
  if (!isShallowJson(body))
    return { message: `The body is nested deeper than ${LIMITS.jsonDepthMax} levels.`, param: null };
  let text: string;
  let value: unknown;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(body);
    value = JSON.parse(text);
  } catch {
    return { message: 'The body is not valid JSON in UTF-8.', param: null };
  }
  if (!isObject(value)) return { message: 'The body must be a JSON object.', param: null };
  const members = membersOf(text, 0);
  if (typeof members === 'string') return { message: `'${members}' is given twice.`, param: members };
  const model = members.get('model');
  if (model === undefined || typeof value['model'] !== 'string') {
    return { message: "'model' must be a string.", param: 'model' };
  }
  const { stream, stream_options: options } = value;
  if (stream !== undefined && stream !== null && typeof stream !== 'boolean') {
    return { message: "'stream' must be true or false.", param: 'stream' };
  }
  const request: ChatRequest = {
    text,
    model: value['model'],
    stream: stream === true,
    includeUsage: isObject(options) && options['include_usage'] === true,
    edits: [],
    modelStart: model.start,
    modelEnd: model.end,
  };
  if (!request.stream || request.includeUsage) return request;
  const at = members.get('stream_options');
  if (at === undefined) {
    request.edits.push(insertMember(text, 0, false, '"stream_options":{"include_usage":true}'));
    return request;
  }
  if (options === null) {
    request.edits.push({ start: at.start, end: at.end, text: '{"include_usage":true}' });
    return request;
  }
  const inner = isObject(options) ? membersOf(text, at.start) : 'stream_options';
  if (typeof inner === 'string') {
    return { message: "'stream_options' must be an object without repeated keys.", param: 'stream_options' };
  }
  const flag = inner.get('include_usage');
  request.edits.push(
    flag === undefined
      ? insertMember(text, at.start, inner.size === 0, '"include_usage":true')
      : { start: flag.start, end: flag.end, text: 'true' },
  );
  return request;
}

/** The body for the provider: its own model name, usage forced for a stream, every other byte as it came. */
export function rewriteChatRequest(request: ChatRequest, model: string): Uint8Array {
  const edits = [...request.edits, { start: request.modelStart, end: request.modelEnd, text: JSON.stringify(model) }];
  return new TextEncoder().encode(splice(request.text, edits));
}

/** An error in OpenAI's shape, as JSON text. */
export function chatError(message: string, type: string, code: string | null, param: string | null = null): string {
  return JSON.stringify({ error: { message, type, param, code } });
}

/** One response. `push` gives the bytes for the client, `end` the last of them. */
export class ChatTap {
  usage: Usage | null = null;
  /** Streamed: [DONE] was seen. Otherwise: the body ended. */
  complete = false;
  /** Streamed: an error of ours ended it, whatever else comes. */
  failed = false;
  /** Events with choices; a lower bound of the generated tokens when a stream is cut before its usage. */
  choiceEvents = 0;
  private readonly reader: SseReader | null;
  private readonly includeUsage: boolean;
  private readonly body = new HeldChunks();
  private tooLarge = false;
  /** The terminator or an error went to the client: whatever follows is dropped. */
  private closed = false;
  /** It went to the client up to a CR, of which the LF may follow. */
  private closedAtCr = false;
  /** Whether the last event went to the client. */
  private passed = false;

  /** @param streamed whether the response is text/event-stream. @param includeUsage whether the client asked for the usage chunk. */
  constructor(streamed: boolean, includeUsage: boolean) {
    this.reader = streamed ? new SseReader() : null;
    this.includeUsage = includeUsage;
  }

  push(chunk: Uint8Array): Uint8Array[] {
    if (this.reader === null) {
      this.tooLarge ||= threadHeld.isFull || this.body.bytes + chunk.length > LIMITS.meteredBodyBytesMax;
      if (this.tooLarge) this.body.drop();
      else this.body.push(chunk);
      return [chunk];
    }
    if (this.closed) return this.afterClose(chunk);
    const events = this.reader.push(chunk);
    const out: Uint8Array[] = [];
    for (const event of events) {
      const { data, raw, late } = event;
      if (late && !this.passed) continue;
      const forClient = data === null ? raw : this.see(data, raw);
      this.passed = forClient !== null;
      if (forClient !== null) out.push(forClient);
      if (!this.closed) continue;
      this.closedAtCr = event === events.at(-1) && raw.at(-1) === CR && this.reader.rest().length === 0;
      break;
    }
    if (this.closed || !this.reader.isTooLarge) return out;
    return out.concat(this.fail('The provider sent an event that is too large.', 'event_too_large'));
  }

  private afterClose(chunk: Uint8Array): Uint8Array[] {
    const late = this.closedAtCr && chunk[0] === LF;
    if (chunk.length > 0) this.closedAtCr = false;
    return late ? [chunk.slice(0, 1)] : [];
  }

  /** The response ended, in order (`cause` null) or by a failure whose message the client may read. */
  end(cause: string | null = null): Uint8Array[] {
    if (this.reader === null) {
      this.complete = cause === null;
      if (this.complete && !this.tooLarge) this.readUsage(asBuffer(this.body.take()).toString());
      this.drop();
      return [];
    }
    if (this.closed) return [];
    return this.fail(cause ?? 'The provider ended the stream before it was complete.', 'stream_incomplete');
  }

  /** Nothing more comes, or nobody reads it. */
  drop(): void {
    this.body.drop();
  }

  /** What of the event goes to the client: all of it, nothing (null), or all but what only we asked for. */
  private see(data: string, raw: Uint8Array): Uint8Array | null {
    if (data.trim() === '[DONE]') {
      this.closed = true;
      this.complete = true;
      return raw;
    }
    this.choiceEvents++;
    // Parsing every delta would double the cost of a stream; only these two members matter.
    if (!data.includes('"usage"') && !data.includes('"error"')) return raw;
    const value = this.readUsage(data);
    if (value === null) return raw;
    if (value['error'] !== undefined && value['error'] !== null) {
      this.choiceEvents--;
      this.closed = true;
      return raw;
    }
    const choices = value['choices'];
    const usageOnly = Array.isArray(choices) && choices.length === 0 && isObject(value['usage']);
    if (usageOnly) this.choiceEvents--;
    if (this.includeUsage) return raw;
    if (usageOnly) return null;
    return value['usage'] === null ? withoutNullUsage(data, raw) : raw;
  }

  private readUsage(text: string): Record<string, unknown> | null {
    try {
      const value: unknown = JSON.parse(text);
      if (!isObject(value)) return null;
      this.usage = parseUsage(value['usage']) ?? this.usage;
      return value;
    } catch {
      return null;
    }
  }

  private fail(message: string, code: string): Uint8Array[] {
    this.closed = true;
    this.failed = true;
    return [new TextEncoder().encode(`data: ${chatError(message, 'server_error', code)}\n\n`)];
  }
}

/** The member as the last or a middle one, or as the first of several. Inside of a string its quotes would be escaped. */
const NULL_USAGE = /,\s*"usage"\s*:\s*null(?=\s*[,}])|(?<=\{\s*)"usage"\s*:\s*null\s*,/g;

/**
 * The event without its `"usage": null`, which OpenAI writes into every chunk when usage is asked for, and which SDKs
 * of the client need not expect. Cut from the bytes, so that all others stay as they came.
 */
function withoutNullUsage(data: string, raw: Uint8Array): Uint8Array {
  const found = data.match(NULL_USAGE);
  // More than one: a choice has its own, and telling them apart is not worth a second parser. It does no harm.
  if (found?.length !== 1) return raw;
  const [member = ''] = found;
  const bytes = Buffer.from(raw.buffer, raw.byteOffset, raw.byteLength);
  const at = bytes.indexOf(member);
  return at < 0 ? raw : Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + Buffer.byteLength(member))]);
}
