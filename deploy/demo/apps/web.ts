// The shop's front: passes orders on and answers questions through a model. It names hosts and models as if they were
// on the open network, and holds no key.

import type { IncomingMessage, ServerResponse } from 'node:http';
import { Agent, request as callHttp } from 'node:http';
import { need, readJson, readText, sendJson, serveHttp, traceHeaders } from './serve.ts';

const ordersUrl = need('ORDERS_URL');
const openaiUrl = need('OPENAI_BASE_URL');
/** HTTP_PROXY of the environment is respected, as in most languages' clients. */
const agent = new Agent({ keepAlive: true, proxyEnv: process.env });

serveHttp('web', async (request, response) => {
  const path = request.url ?? '/';
  if (path.startsWith('/orders')) return passOn(request, response, path);
  if (path === '/ask' && request.method === 'POST') return ask(request, response);
  return sendJson(response, path === '/' ? 200 : 404, {
    try: ['GET /orders/7', 'POST /orders {"sku":"lamp","quantity":2,"amount":59}', 'POST /ask {"question":"…"}'],
  });
});

/** The same call to `orders`, and its answer. */
async function passOn(request: IncomingMessage, response: ServerResponse, path: string): Promise<void> {
  const body = await readText(request);
  const headers: Record<string, string> = { ...traceHeaders(request) };
  if (body !== '') headers['content-type'] = 'application/json';
  const answer = await new Promise<IncomingMessage>((resolve, reject) => {
    const call = callHttp(`${ordersUrl}${path}`, { agent, method: request.method ?? 'GET', headers }, resolve);
    call.once('error', reject);
    call.end(body === '' ? undefined : body);
  });
  response.writeHead(answer.statusCode ?? 502, {
    'content-type': answer.headers['content-type'] ?? 'application/octet-stream',
  });
  answer.pipe(response);
  answer.once('error', () => response.destroy());
}

/** Streams a model's answer as plain text, word by word. */
async function ask(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { question } = await readJson(request);
  const stop = new AbortController();
  response.once('close', () => stop.abort());
  const answer = await fetch(`${openaiUrl}/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...traceHeaders(request) },
    body: JSON.stringify({
      model: 'assistant',
      stream: true,
      messages: [
        { role: 'system', content: 'You help customers of a small shop.' },
        { role: 'user', content: String(question) },
      ],
    }),
    signal: stop.signal,
  });
  if (!answer.ok || answer.body === null)
    return sendJson(response, answer.status, { error: 'the model did not answer', detail: await answer.text() });
  response.writeHead(200, { 'content-type': 'text/plain; charset=utf-8' });
  let rest = '';
  let whole = false;
  for await (const chunk of answer.body.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + chunk).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) {
      if (!line.startsWith('data:')) continue;
      const data = line.slice(5).trim();
      if (data === '[DONE]') whole = true;
      else response.write(textOf(data));
    }
  }
  if (!whole) throw new Error('the model stopped in the middle');
  response.end('\n');
}

function textOf(data: string): string {
  const event = JSON.parse(data) as { error?: { message?: string }; choices?: { delta?: { content?: string } }[] };
  if (event.error !== undefined) throw new Error(event.error.message ?? 'the model failed');
  return event.choices?.[0]?.delta?.content ?? '';
}
