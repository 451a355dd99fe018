// OpenAI chat completions between a client's stream and the exchange: the alias becomes a provider's model, the
// client's credentials become the provider's, and the response is metered on its way back.

import { BUFFERED_BODY_BYTES_MAX, BufferedStream } from '../transcode/buffered-stream.ts';
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
  /** A lower bound of the generated tokens of a stream, for when usage is null. */
  choiceEvents: number;
}

/** What a chat stream asks of its surroundings. */
export interface ChatOptions {
  /** Null: no such alias for this caller (404). */
  resolveModel(alias: string): ChatTarget | null;
  /** Once per request that was handed on. */
  onUsage(call: ChatCall): void;
  /** Default BUFFERED_BODY_BYTES_MAX; more is answered by 413. */
  bodyBytesMax?: number;
}

/** A caller's credentials, in any provider's spelling: they must not reach a provider. */
const REMOVED = [
  'authorization',
  'x-api-key',
  'api-key',
  'x-goog-api-key',
  'cookie',
  'openai-organization',
  'openai-project',
];
const JSON_TYPE = 'application/json';

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

  constructor(downstream: HttpStream, options: ChatOptions) {
    super(downstream, options.bodyBytesMax ?? BUFFERED_BODY_BYTES_MAX);
    this.options = options;
  }

  protected override wants(): boolean {
    return true;
  }

  protected override onTooLarge(bodyBytesMax: number): void {
    this.refuse(413, `The body is larger than ${bodyBytesMax} bytes.`, 'request_too_large');
  }

  protected override onRequest(head: Head, body: Uint8Array): void {
    if (head.method !== 'POST') {
      const text = chatError(`${head.method} is not allowed here; use POST.`, 'invalid_request_error', null);
      return this.reply(405, JSON_TYPE, text, ['allow', 'POST']);
    }
    const encoding = headerValue(head.headers, 'content-encoding') ?? 'identity';
    if (encoding !== 'identity') return this.refuse(415, `A body in ${encoding} is not understood.`, null);
    const request = parseChatRequest(body);
    if ('message' in request) return this.refuse(400, request.message, null, request.param);
    const target = this.options.resolveModel(request.model);
    if (target === null) {
      const message = `The model '${request.model}' does not exist or you do not have access to it.`;
      return this.refuse(404, message, 'model_not_found', 'model');
    }
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

  protected override onGone(): void {
    this.settle();
  }

  protected override responseHead(head: Head, end: boolean): void {
    this.status = head.status;
    const type = (headerValue(head.headers, 'content-type') ?? '').toLowerCase();
    const encoding = headerValue(head.headers, 'content-encoding') ?? 'identity';
    const ok = head.status >= 200 && head.status < 300;
    if (encoding !== 'identity' || (!ok && !type.includes('json'))) {
      // Unreadable here, or a middlebox's page: the client gets an error it can parse.
      const message = ok ? `The provider answered in ${encoding}.` : `The provider answered ${head.status}.`;
      this.replaced = true;
      this.reply(ok ? 502 : head.status, JSON_TYPE, chatError(message, 'server_error', 'provider_response'));
      this.detached = false;
      if (end) this.settle();
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
    if (end) this.finish(null, false);
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

  /** @param ended whether the end was already written to the client. */
  private finish(cause: string | null, ended: boolean): void {
    const last = this.tap?.end(cause) ?? [];
    if (!ended && !this.settled) {
      for (const out of last) this.send(out, false);
      this.downstream.writeEnd(null);
    }
    this.settle();
  }

  private refuse(status: number, message: string, code: string | null, param: string | null = null): void {
    this.reply(status, JSON_TYPE, chatError(message, 'invalid_request_error', code, param));
  }

  private settle(): void {
    if (this.settled || this.target === null) return;
    this.settled = true;
    const usage = this.tap?.usage ?? null;
    const prices = this.target.prices;
    this.options.onUsage({
      alias: this.alias,
      model: this.target.model,
      status: this.status,
      usage,
      costMicroDollars: usage === null || prices === null ? null : costMicroDollars(usage, prices),
      complete: this.tap?.complete ?? false,
      choiceEvents: this.streamed ? (this.tap?.choiceEvents ?? 0) : 0,
    });
  }
}

function address(head: Head, provider: ChatProvider, key: string | null, bodyBytes: number): void {
  head.authority = provider.authority;
  head.path = `${provider.pathPrefix}/chat/completions`;
  for (const name of REMOVED) removeHeader(head.headers, name);
  for (let i = 0; i < provider.headers.length; i += 2) {
    setHeader(head.headers, provider.headers[i] as string, provider.headers[i + 1] as string);
  }
  if (key !== null) setHeader(head.headers, 'authorization', `Bearer ${key}`);
  setHeader(head.headers, 'content-type', JSON_TYPE);
  setHeader(head.headers, 'content-length', String(bodyBytes));
  // What is compressed cannot be metered.
  setHeader(head.headers, 'accept-encoding', 'identity');
}
