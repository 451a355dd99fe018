// The mock provider over real HTTP: what the demo and the AI tests rely on.

import { afterEach, beforeEach, expect, test } from 'vitest';
import { type MockProvider, startMockProvider } from '../../deploy/mock/mock-provider.ts';

let mock: MockProvider;

beforeEach(async () => {
  mock = await startMockProvider({ key: 'sk-mock' });
});

afterEach(() => mock.close());

const messages = [
  { role: 'system', content: 'be kind' },
  { role: 'user', content: 'good morning' },
];

interface Answer {
  error: { code: string };
  data: { id: string }[];
}

async function json(response: Response): Promise<Answer> {
  return (await response.json()) as Answer;
}

function chat(body: object, headers: Record<string, string> = {}): Promise<Response> {
  return fetch(`http://127.0.0.1:${mock.port}/v1/chat/completions`, {
    method: 'POST',
    headers: { authorization: 'Bearer sk-mock', 'content-type': 'application/json', ...headers },
    body: JSON.stringify({ model: 'mock-small', messages, ...body }),
  });
}

test('answers with text and counts made from the prompt', async () => {
  const body = await (await chat({})).json();
  expect(body).toMatchObject({
    object: 'chat.completion',
    choices: [{ message: { content: 'You said: good morning' } }],
    usage: { prompt_tokens: 4, completion_tokens: 4, total_tokens: 8 },
  });
});

test('streams word by word, with usage only when asked', async () => {
  const lines = (await (await chat({ stream: true })).text()).trim().split('\n\n');
  expect(lines.at(-1)).toBe('data: [DONE]');
  const chunks = lines.slice(0, -1).map((line) => JSON.parse(line.slice('data: '.length)));
  expect(chunks.map((chunk) => chunk.choices[0].delta.content ?? '').join('')).toBe('You said: good morning');
  expect(chunks.some((chunk) => 'usage' in chunk)).toBe(false);
  const asked = await (await chat({ stream: true, stream_options: { include_usage: true } })).text();
  expect(asked).toContain('"choices":[],"usage":{"prompt_tokens":4,"completion_tokens":4,"total_tokens":8}');
});

test('cuts the stream after as many chunks as told', async () => {
  const response = await chat({ stream: true }, { 'x-mock-cut': '3' });
  let text = '';
  const decoder = new TextDecoder();
  const reading = (async () => {
    for await (const chunk of response.body as ReadableStream<Uint8Array>) text += decoder.decode(chunk);
  })();
  await expect(reading).rejects.toThrow();
  expect(text.split('\n\n').filter((part) => part !== '')).toHaveLength(3);
});

test('refuses in the shape of OpenAI', async () => {
  const wrong = await chat({}, { authorization: 'Bearer other' });
  expect([wrong.status, (await json(wrong)).error.code]).toEqual([401, 'invalid_api_key']);
  const unknown = await chat({ model: 'nope' });
  expect([unknown.status, (await json(unknown)).error.code]).toEqual([404, 'model_not_found']);
  const models = await fetch(`http://127.0.0.1:${mock.port}/v1/models`, {
    headers: { authorization: 'Bearer sk-mock' },
  });
  expect((await json(models)).data.map((model) => model.id)).toEqual(['mock-small', 'mock-large']);
});
