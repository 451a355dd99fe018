// An OpenAI-compatible provider that needs no account: what the demo calls, and what tests cut in mid-stream. Its
// text follows from the prompt and a token is a word, so that every bill can be checked by counting.

import { timingSafeEqual } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** How the mock behaves. */
export interface MockProviderOptions {
  /** The bearer key it accepts; others get 401. */
  key: string;
  /** Model names it serves; default `mock-small` and `mock-large`. Others get 404. */
  models?: string[];
  /** Default 0: a free port. Always on loopback. */
  port?: number;
}

/** A running mock. */
export interface MockProvider {
  port: number;
  close(): Promise<void>;
}

interface ChatBody {
  model: string;
  messages: { content?: unknown }[];
  stream: boolean;
  includeUsage: boolean;
}

const MODELS = ['mock-small', 'mock-large'];
/** A demo's prompts are small; more is a mistake. */
const BODY_BYTES_MAX = 10 * 1024 * 1024;
/** Constant, so that equal prompts give equal answers. */
const CREATED_S = 1_700_000_000;

/** Starts it; rejects when the port is in use. The header `x-mock-cut: N` on a streamed request closes the connection after N chunks. */
export function startMockProvider(options: MockProviderOptions): Promise<MockProvider> {
  const models = options.models ?? MODELS;
  const server = createServer((request, response) => {
    if (!authorized(request, options.key)) {
      return sendError(response, 401, 'Incorrect API key provided.', 'invalid_request_error', 'invalid_api_key');
    }
    if (request.method === 'GET' && request.url === '/v1/models') {
      const data = models.map((id) => ({ id, object: 'model', created: CREATED_S, owned_by: 'weft-mock' }));
      return sendJson(response, 200, { object: 'list', data });
    }
    if (request.method !== 'POST' || request.url !== '/v1/chat/completions') {
      return sendError(response, 404, 'Unknown request URL.', 'invalid_request_error', 'unknown_url');
    }
    readBody(request, (text) => {
      const body = text === null ? null : parseBody(text);
      if (body === null)
        return sendError(response, 400, 'The body is not a chat request.', 'invalid_request_error', null);
      if (!models.includes(body.model)) {
        const message = `The model '${body.model}' does not exist.`;
        return sendError(response, 404, message, 'invalid_request_error', 'model_not_found');
      }
      answer(response, body, Number(request.headers['x-mock-cut'] ?? Number.POSITIVE_INFINITY));
    });
  });
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(options.port ?? 0, '127.0.0.1', () => {
      server.off('error', reject);
      resolve({
        port: (server.address() as AddressInfo).port,
        close: () =>
          new Promise((closed) => {
            server.close(() => closed());
            server.closeAllConnections();
          }),
      });
    });
  });
}

function answer(response: ServerResponse, body: ChatBody, cutAfter: number): void {
  const prompt = body.messages.map((message) => textOf(message.content)).join(' ');
  const last = textOf(body.messages.at(-1)?.content);
  const text = `You said: ${last}`.trim();
  const tokens = words(text);
  const usage = {
    prompt_tokens: words(prompt).length,
    completion_tokens: tokens.length,
    total_tokens: words(prompt).length + tokens.length,
  };
  const base = { id: 'chatcmpl-mock', created: CREATED_S, model: body.model };
  if (!body.stream) {
    const choice = { index: 0, message: { role: 'assistant', content: text }, finish_reason: 'stop', logprobs: null };
    return sendJson(response, 200, { ...base, object: 'chat.completion', choices: [choice], usage });
  }
  const chunk = (choices: unknown[], used: unknown) =>
    `data: ${JSON.stringify({ ...base, object: 'chat.completion.chunk', choices, ...(body.includeUsage ? { usage: used } : {}) })}\n\n`;
  const delta = (fields: object, finish: string | null) =>
    chunk([{ index: 0, delta: fields, finish_reason: finish, logprobs: null }], null);
  const chunks = [delta({ role: 'assistant', content: '' }, null)];
  for (const [i, word] of tokens.entries()) chunks.push(delta({ content: i === 0 ? word : ` ${word}` }, null));
  chunks.push(delta({}, 'stop'));
  if (body.includeUsage) chunks.push(chunk([], usage));
  chunks.push('data: [DONE]\n\n');
  response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-cache' });
  sendChunks(response, chunks, 0, cutAfter);
}

/** One chunk per loop turn, and none while the client does not read: what a client sees is a stream, not one block. */
function sendChunks(response: ServerResponse, chunks: string[], next: number, cutAfter: number): void {
  if (response.destroyed) return;
  if (next >= cutAfter) {
    response.socket?.end();
    return;
  }
  const chunk = chunks[next];
  if (chunk === undefined) {
    response.end();
    return;
  }
  const more = () => sendChunks(response, chunks, next + 1, cutAfter);
  if (response.write(chunk)) setImmediate(more);
  else response.once('drain', more);
}

function parseBody(text: string): ChatBody | null {
  try {
    const value = JSON.parse(text);
    if (typeof value?.model !== 'string' || !Array.isArray(value.messages)) return null;
    return {
      model: value.model,
      messages: value.messages.filter((message: unknown) => typeof message === 'object' && message !== null),
      stream: value.stream === true,
      includeUsage: value.stream_options?.include_usage === true,
    };
  } catch {
    return null;
  }
}

function textOf(content: unknown): string {
  if (typeof content === 'string') return content;
  if (!Array.isArray(content)) return '';
  return content.map((part) => (typeof part?.text === 'string' ? part.text : '')).join(' ');
}

function words(text: string): string[] {
  return text.split(/\s+/).filter((word) => word !== '');
}

function authorized(request: IncomingMessage, key: string): boolean {
  const given = Buffer.from(request.headers.authorization ?? '');
  const wanted = Buffer.from(`Bearer ${key}`);
  return given.length === wanted.length && timingSafeEqual(given, wanted);
}

function readBody(request: IncomingMessage, done: (text: string | null) => void): void {
  const chunks: Buffer[] = [];
  let bytes = 0;
  request.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
    if (bytes <= BODY_BYTES_MAX) chunks.push(chunk);
  });
  request.on('end', () => done(bytes <= BODY_BYTES_MAX ? Buffer.concat(chunks).toString() : null));
}

function sendJson(response: ServerResponse, status: number, value: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(JSON.stringify(value));
}

function sendError(response: ServerResponse, status: number, message: string, type: string, code: string | null): void {
  sendJson(response, status, { error: { message, type, param: null, code } });
}
