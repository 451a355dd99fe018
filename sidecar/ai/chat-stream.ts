// OpenAI chat completions between a client's stream and the exchange: the alias becomes a provider's model, the
// client's credentials become the provider's, and the response is metered on its way back. The response passes as it
// came, its `model` included: it names the provider's concrete model, as OpenAI's own aliases do, and so is true.

import { LIMITS } from '../base/limits.ts';
import { BufferedStream } from '../transcode/buffered-stream.ts';
import type { ProxyError } from '../wire/error.ts';
import { type HeaderList, headerValue, removeHeader, setHeader } from '../wire/headers.ts';
import type { Head, HttpStream } from '../wire/stream.ts';
import { ChatTap, chatError, parseChatRequest, rewriteChatRequest } from './chat-tap.ts';
import type { Secret } from './secret.ts';
import { costMicroDollars, type Prices, type Usage } from './usage.ts';

/** Where a model is served. */
export interface ChatProvider {
  /** host[:port], what the exchange routes by. */
  authority: string;
  /** Before `/chat/completions`, e.g. `/v1`. */
  pathPrefix: string;
  /** Sent as a bearer token; null for a provider that wants none. */
  key: Secret | null;
  /** Set on every request, e.g. an organization; names lower-case. */
  headers: HeaderList;
}

/** What an alias stands for. */
export interface ChatTarget {
  provider: ChatProvider;
  /** The provider's own name of the model. */
  model: string;
  /** Null: not priced, the cost is null. */
  prices: Prices | null;
}

/** How a call ended: whole; answered with an error, by the provider or in its place; broken off in mid-answer; left by the client. */
export type ChatOutcome = 'ok' | 'error' | 'cut' | 'cancelled';

/** One call, for metrics, budgets and bills. */
export interface ChatCall {
  /** As the client called it, and as the provider does. */
  alias: string;
  model: string;
  /** The response's status; 0 when none came. */
  status: number;
  /** Null when the provider sent none: the stream was cut, or the client left. */
  usage: Usage | null;
  costMicroDollars: bigint | null;
  /** Whether the answer reached its end. */
  complete: boolean;
  outcome: ChatOutcome;
  /** A lower bound of the generated tokens of a stream, for when usage is null. */
  choiceEvents: number;
}

/** What a chat stream asks of its surroundings. */
export interface ChatOptions {
  /** Whether a request under this name is answered at all (else 421). */
  servesHost(authority: string): boolean;
  /** Whether a page of this origin (RFC 6454) may call (else 403); asked only for a request that names one. */
  servesOrigin(origin: string): boolean;
  /** Null: no such alias for this caller (404). */
  resolveModel(alias: string): ChatTarget | null;
  /** What this caller may write in `model`, for `GET /v1/models` and `GET /v1/models/{model}`. */
  listModels(): readonly string[];
  /** Once per request that was handed on. */
  onUsage(call: ChatCall): void;
  /** Instead of the exchange and of `onUsage`, once: answered here without a call, or left before its body was whole (status 0). */
  onLocal(request: Head, status: number): void;
  /** The client has its whole answer, and what else the provider sends is of no use: it is to stop. After `onUsage`. */
  onDiscard(): void;
  /** Default LIMITS.bufferedBodyBytesMax; more is answered by 413. */
  bodyBytesMax?: number;
}

/** A caller's credentials, in any provider's spelling, and who it is: they must not reach a provider. */
const REMOVED = [
  'authorization',
  'x-api-key',
  'api-key',
  'x-goog-api-key',
  'cookie',
  'openai-organization',
  'openai-project',
  'forwarded',
  'x-real-ip',
  'origin',
  'referer',
];
/** Who the caller is and by which way it came: x-forwarded-for, -host, -client-cert, ... */
const REMOVED_PREFIX = 'x-forwarded-';
/** Of an answer that is replaced: when the provider wants to be asked again, which SDKs honour. */
const KEPT = ['retry-after', 'retry-after-ms'];
const JSON_TYPE = 'application/json';
const CHAT_PATH = '/v1/chat/completions';
const MODELS_PATH = '/v1/models';
const MODEL_PREFIX = `${MODELS_PATH}/`;

/** See BufferedStream for how to connect it. */
export class ChatStream extends BufferedStream {
  private readonly options: ChatOptions;
  private alias = '';
  private target: ChatTarget | null = null;
  private includeUsage = false;
  private status = 0;
  private streamed = false;
  private tap: ChatTap | null = null;
  /** The provider's body is replaced by our own error and dropped. */
  private replaced = false;
  private settled = false;
  /** Answered without a call. */
  private answered = false;
  private gone = false;

  constructor(downstream: HttpStream, options: ChatOptions) {
    super(downstream, options.bodyBytesMax ?? LIMITS.bufferedBodyBytesMax);
    this.options = options;
  }

  protected override wants(): boolean {
    return true;
  }

  protected override onTooLarge(bodyBytesMax: number): void {
    this.refuse(413, `The body is larger than ${bodyBytesMax} bytes.`, 'request_too_large');
  }

  protected override onOverloaded(): void {
    const text = chatError('Too many calls are under way here; try again later.', 'server_error', 'overloaded');
    this.reply(503, JSON_TYPE, text);
  }

  protected override onRequest(head: Head, body: Uint8Array): void {
    if (!this.options.servesHost(head.authority)) {
      const message = `The host ${JSON.stringify(head.authority)} is not served here; use localhost, 127.0.0.1, [::1] or another address of this port.`;
      return this.refuse(421, message, 'misdirected_request');
    }
    const origin = headerValue(head.headers, 'origin');
    if (origin !== undefined && !this.options.servesOrigin(origin)) {
      const message = `Pages of ${JSON.stringify(origin)} may not call models here; only those of localhost may.`;
      return this.refuse(403, message, 'forbidden_origin');
    }
    const mark = head.path.indexOf('?');
    const path = mark < 0 ? head.path : head.path.slice(0, mark);
    const method = methodOf(path);
    if (method === null) {
      const message = `Unknown path ${head.method} ${path}; there is POST ${CHAT_PATH}, GET ${MODELS_PATH} and GET ${MODEL_PREFIX}{model}.`;
      return this.refuse(404, message, 'unknown_url');
    }
    if (head.method !== method) {
      const text = chatError(`${head.method} is not allowed here; use ${method}.`, 'invalid_request_error', null);
      return this.reply(405, JSON_TYPE, text, ['allow', method]);
    }
    if (path === CHAT_PATH) return this.chat(head, body);
    if (path === MODELS_PATH) return this.reply(200, JSON_TYPE, modelList(this.options.listModels()));
    this.describeModel(path.slice(MODEL_PREFIX.length));
  }

  /** OpenAI's "retrieve model". @param written as the path has it; a name may hold slashes. */
  private describeModel(written: string): void {
    const name = decodedName(written);
    if (this.options.listModels().includes(name)) return this.reply(200, JSON_TYPE, JSON.stringify(modelObject(name)));
    this.refuseModel(name);
  }

  private refuseModel(name: string): void {
    const message = `The model '${name}' does not exist or you do not have access to it.`;
    this.refuse(404, message, 'model_not_found', 'model');
  }

  private chat(head: Head, body: Uint8Array): void {
    const encoding = headerValue(head.headers, 'content-encoding') ?? 'identity';
    if (encoding !== 'identity') return this.refuse(415, `A body in ${encoding} is not understood.`, null);
    const request = parseChatRequest(body);
    if ('message' in request) return this.refuse(400, request.message, null, request.param);
    const target = this.options.resolveModel(request.model);
    if (target === null) return this.refuseModel(request.model);
    const key = target.provider.key?.value() ?? null;
    if (target.provider.key !== null && key === null) {
      const text = chatError('The provider of this model has no usable key here.', 'server_error', 'provider_key');
      return this.reply(503, JSON_TYPE, text);
    }
    this.alias = request.model;
    this.target = target;
    this.includeUsage = request.includeUsage;
    const rewritten = rewriteChatRequest(request, target.model);
    address(head, target.provider, key, rewritten.length);
    this.forward(head, rewritten);
  }

  protected override onGone(request: Head): void {
    if (this.target === null && !this.answered) this.options.onLocal(request, 0);
    this.gone = true;
    this.settle();
  }

  protected override onLocalReply(request: Head, status: number): void {
    this.answered = true;
    this.options.onLocal(request, status);
  }

  protected override responseHead(head: Head, end: boolean): void {
    this.status = head.status;
    const type = (headerValue(head.headers, 'content-type') ?? '').toLowerCase();
    const ok = head.status >= 200 && head.status < 300;
    const message = unreadable(head, type, ok);
    if (message !== null) {
      this.replace(head, message, ok);
      this.settle();
      if (!end) this.options.onDiscard();
      return;
    }
    this.streamed = ok && type.startsWith('text/event-stream');
    this.tap = new ChatTap(this.streamed, this.includeUsage);
    if (this.streamed) removeHeader(head.headers, 'content-length');
    this.downstream.writeHead(head, end && !this.streamed);
    if (end) this.finish(null, !this.streamed);
  }

  protected override responseData(chunk: Uint8Array, end: boolean): boolean {
    if (this.replaced || this.tap === null) {
      if (end) this.settle();
      return true;
    }
    if (!this.streamed) {
      this.tap.push(chunk);
      const room = this.send(chunk, end);
      if (end) this.finish(null, true);
      return room;
    }
    for (const out of this.tap.push(chunk)) this.send(out, false);
    if (end || this.tap.failed) this.finish(null, false);
    if (this.tap.failed && !end) this.options.onDiscard();
    return !this.full;
  }

  protected override responseEnd(trailers: HeaderList | null): void {
    if (this.replaced) return this.settle();
    if (this.streamed) return this.finish(null, false);
    this.downstream.writeEnd(trailers);
    this.finish(null, true);
  }

  protected override responseReset(error: ProxyError): void {
    if (this.replaced) return this.settle();
    // Inside a stream the client's SDK takes a closed connection for an end; an error event it understands.
    if (this.streamed && error.source !== 'downstream') return this.finish('The provider failed in mid-stream.', false);
    this.settle();
    this.downstream.reset(error);
  }

  /** An error that the client can parse, in place of what came. */
  private replace(head: Head, message: string, ok: boolean): void {
    const flag = headerValue(head.headers, 'x-weft-error');
    const more: HeaderList = flag === undefined ? [] : ['x-weft-error', flag];
    for (const name of KEPT) {
      const value = headerValue(head.headers, name);
      if (value !== undefined) more.push(name, value);
    }
    this.replaced = true;
    const code = flag === undefined ? 'provider_response' : 'provider_unavailable';
    this.reply(ok ? 502 : head.status, JSON_TYPE, chatError(message, 'server_error', code), more);
    this.detached = false;
  }

  /** @param ended whether the end was already written to the client. */
  private finish(cause: string | null, ended: boolean): void {
    const last = this.tap?.end(cause) ?? [];
    if (!ended && !this.settled) {
      for (const out of last) this.send(out, false);
      this.downstream.writeEnd(null);
    }
    this.settle();
  }

  private outcome(): ChatOutcome {
    if (this.replaced || this.status >= 400) return 'error';
    if (this.tap?.complete === true) return 'ok';
    return this.gone ? 'cancelled' : 'cut';
  }

  private refuse(status: number, message: string, code: string | null, param: string | null = null): void {
    this.reply(status, JSON_TYPE, chatError(message, 'invalid_request_error', code, param));
  }

  private settle(): void {
    if (this.settled || this.target === null) return;
    this.settled = true;
    this.tap?.drop();
    const usage = this.tap?.usage ?? null;
    const prices = this.target.prices;
    this.options.onUsage({
      alias: this.alias,
      model: this.target.model,
      status: this.status,
      usage,
      costMicroDollars: usage === null || prices === null ? null : costMicroDollars(usage, prices),
      complete: this.tap?.complete ?? false,
      outcome: this.outcome(),
      choiceEvents: this.streamed ? (this.tap?.choiceEvents ?? 0) : 0,
    });
  }
}

/** Why this answer means nothing to a client of the format: compressed, our own reply, or the page of a middlebox; null: it does. */
function unreadable(head: Head, type: string, ok: boolean): string | null {
  const encoding = headerValue(head.headers, 'content-encoding') ?? 'identity';
  const flag = headerValue(head.headers, 'x-weft-error');
  if (!ok)
    return encoding === 'identity' && flag === undefined && type.includes('json')
      ? null
      : failureText(head.status, flag);
  if (encoding !== 'identity') return `The provider answered in ${encoding}.`;
  // A page of which a client of streams would see no event, and so an answer that is empty and whole.
  const foreign = type !== '' && !type.includes('json') && !type.startsWith('text/event-stream');
  return foreign
    ? `The provider answered ${head.status} with ${type.split(';', 1)[0]} in place of a completion.`
    : null;
}

/** @param flag our own response flag; undefined when the provider itself answered. */
function failureText(status: number, flag: string | undefined): string {
  return flag === undefined ? `The provider answered ${status}.` : `The provider could not be called (${flag}).`;
}

/** The method that a path takes; null: there is no such path. */
function methodOf(path: string): 'GET' | 'POST' | null {
  if (path === CHAT_PATH) return 'POST';
  return path === MODELS_PATH || (path.startsWith(MODEL_PREFIX) && path !== MODEL_PREFIX) ? 'GET' : null;
}

/** Without percent-encoding; what is none is the name as it stands, which nothing is called. */
function decodedName(written: string): string {
  try {
    return decodeURIComponent(written);
  } catch {
    return written;
  }
}

/** OpenAI's model object. `created` is unknown and must be a number; `owned_by` is who answers for the name. */
function modelObject(id: string) {
  return { id, object: 'model', created: 0, owned_by: 'weft' };
}

function modelList(aliases: readonly string[]): string {
  return JSON.stringify({ object: 'list', data: aliases.map(modelObject) });
}

function address(head: Head, provider: ChatProvider, key: string | null, bodyBytes: number): void {
  head.authority = provider.authority;
  head.path = `${provider.pathPrefix}/chat/completions`;
  for (const name of REMOVED) removeHeader(head.headers, name);
  for (let i = head.headers.length - 2; i >= 0; i -= 2) {
    if (head.headers[i]?.startsWith(REMOVED_PREFIX)) head.headers.splice(i, 2);
  }
  for (let i = 0; i < provider.headers.length; i += 2) {
    setHeader(head.headers, provider.headers[i] as string, provider.headers[i + 1] as string);
  }
  if (key !== null) setHeader(head.headers, 'authorization', `Bearer ${key}`);
  setHeader(head.headers, 'content-type', JSON_TYPE);
  setHeader(head.headers, 'content-length', String(bodyBytes));
  // What is compressed cannot be metered.
  setHeader(head.headers, 'accept-encoding', 'identity');
}
