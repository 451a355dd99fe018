// The pure parts below the AI stream: events from bytes, edits in JSON text, prices, keys.

import { mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type ChatRequest, ChatTap, parseChatRequest, rewriteChatRequest } from '../../../sidecar/ai/chat-tap.ts';
import { Secret } from '../../../sidecar/ai/secret.ts';
import { SseReader } from '../../../sidecar/ai/sse.ts';
import { costMicroDollars, type Prices, parsePrices } from '../../../sidecar/ai/usage.ts';
import { LIMITS } from '../../../sidecar/base/limits.ts';

const bytes = (text: string) => new TextEncoder().encode(text);

function read(chunks: Uint8Array[]) {
  const reader = new SseReader();
  const events = chunks.flatMap((chunk) => reader.push(chunk));
  return {
    events: events.filter(({ late }) => !late).map(({ event, data }) => ({ event, data })),
    raw: events.map((event) => event.raw),
    rest: reader.rest(),
  };
}

describe('SSE', () => {
  test.each([
    ['data: a\n\n', [{ event: '', data: 'a' }]],
    ['data:a\r\n\r\n', [{ event: '', data: 'a' }]],
    [
      'data:a\r\rdata: b\r\r',
      [
        { event: '', data: 'a' },
        { event: '', data: 'b' },
      ],
    ],
    ['event: x\ndata: 1\ndata:  2\n\n', [{ event: 'x', data: '1\n 2' }]],
    [
      ': keep-alive\n\ndata\n\n',
      [
        { event: '', data: null },
        { event: '', data: '' },
      ],
    ],
    ['\ufeffdata: é€😀\n\n', [{ event: '', data: 'é€😀' }]],
    ['data: unfinished\n', []],
  ])('%j', (text, events) => {
    expect(read([bytes(text)]).events).toEqual(events);
  });

  test('any cutting gives the same events and loses no byte', () => {
    const line = fc.constantFrom('data: é😀', 'data:x', ': c', 'event: e', 'id: 1', '', '');
    const text = fc.array(fc.tuple(line, fc.constantFrom('\n', '\r\n', '\r')), { maxLength: 30 });
    fc.assert(
      fc.property(text, fc.array(fc.nat(200)), (lines, cuts) => {
        const whole = bytes(lines.map((pair) => pair.join('')).join(''));
        const at = [0, ...cuts.filter((cut) => cut < whole.length).sort((a, b) => a - b), whole.length];
        const pieces = at.slice(1).map((to, i) => whole.slice(at[i], to));
        const once = read([whole]);
        const cut = read(pieces);
        expect(cut.events).toEqual(once.events);
        expect(Buffer.concat([...cut.raw, cut.rest])).toEqual(Buffer.from(whole));
      }),
    );
  });

  test('CVE class 13: an event above the bound is refused', () => {
    const reader = new SseReader(10);
    expect(reader.push(bytes('data: 1\n\n'))).toHaveLength(1);
    expect(reader.isTooLarge).toBe(false);
    expect(reader.push(bytes('data: 12345'))).toEqual([]);
    expect(reader.isTooLarge).toBe(true);
    expect(reader.push(bytes('\n\ndata: 1\n\n'))).toEqual([]);
  });
});

test('what came before an event above the bound is passed on, in whatever pieces', () => {
  const good = 'data: {"choices":[{}]}\n\n';
  const tap = new ChatTap(true, false);
  const out = Buffer.concat(tap.push(bytes(`${good}data: ${'x'.repeat(LIMITS.sseEventBytesMax)}`))).toString();
  expect(out.startsWith(good)).toBe(true);
  expect(out).toContain('event_too_large');
  expect(tap.choiceEvents).toBe(1);
  expect(tap.push(bytes('\n\n'))).toEqual([]);
});

describe('the request rewrite', () => {
  test.each([
    ['{"model":"a"}', '{"model":"b"}'],
    ['{"big":1.0e400,"model" : "a" ,"x":"\\"model\\":"}', '{"big":1.0e400,"model" : "b" ,"x":"\\"model\\":"}'],
    ['{"stream":true,"model":"a"}', '{"stream_options":{"include_usage":true},"stream":true,"model":"b"}'],
    [
      '{"mod\\u0065l":"a","stream":true,"stream_options":null}',
      '{"mod\\u0065l":"b","stream":true,"stream_options":{"include_usage":true}}',
    ],
    [
      '{"stream":true,"stream_options":{ },"model":"a"}',
      '{"stream":true,"stream_options":{"include_usage":true },"model":"b"}',
    ],
    [
      '{"stream":true,"stream_options":{"z":[1,{}]},"model":"a"}',
      '{"stream":true,"stream_options":{"include_usage":true,"z":[1,{}]},"model":"b"}',
    ],
    [
      '{"stream":true,"stream_options":{"include_usage": false },"model":"a"}',
      '{"stream":true,"stream_options":{"include_usage": true },"model":"b"}',
    ],
    [
      '{"stream":true,"stream_options":{"include_usage":true},"model":"a"}',
      '{"stream":true,"stream_options":{"include_usage":true},"model":"b"}',
    ],
    ['{"stream":false,"model":"a"}', '{"stream":false,"model":"b"}'],
  ])('%s', (from, to) => {
    expect(Buffer.from(rewriteChatRequest(parseChatRequest(bytes(from)) as ChatRequest, 'b')).toString()).toBe(to);
  });

  test('changes nothing but the model, whatever stands around it', () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.jsonValue()), fc.nat(4), (object, indent) => {
        const value = { ...object, model: 'a', stream: false };
        const text = JSON.stringify(value, null, indent);
        const result = rewriteChatRequest(parseChatRequest(bytes(text)) as ChatRequest, 'other');
        expect(JSON.parse(Buffer.from(result).toString())).toEqual(
          JSON.parse(JSON.stringify({ ...value, model: 'other' })),
        );
        expect(result.length).toBe(bytes(text).length + 4);
      }),
    );
  });
});

describe('"usage": null, which only we asked for', () => {
  const text = (chunks: Uint8Array[]) => Buffer.concat(chunks).toString();
  const pushed = (data: string, asked = false) => text(new ChatTap(true, asked).push(bytes(data)));

  test.each([
    ['last', 'data: {"choices":[{}],"usage":null}\n\n', 'data: {"choices":[{}]}\n\n'],
    ['first', 'data: { "usage": null, "choices":[{}]}\n\n', 'data: {  "choices":[{}]}\n\n'],
    ['in the middle', 'data: {"a":1 , "usage" : null ,"b":2}\n\n', 'data: {"a":1  ,"b":2}\n\n'],
    [
      'beside text of several bytes a letter',
      'event: x\ndata:{"a":"é✓","usage":null}\n\n',
      'event: x\ndata:{"a":"é✓"}\n\n',
    ],
  ])('%s, is cut from the bytes', (_where, sent, received) => {
    expect(pushed(sent)).toBe(received);
    expect(pushed(sent, true)).toBe(sent);
  });

  test.each([
    ['in a text', String.raw`data: {"choices":[{"delta":{"content":",\"usage\":null}"}}]}`],
    ['of a choice alone', 'data: {"choices":[{"delta":{},"usage":null}]}'],
    ['as a number', 'data: {"choices":[{}],"usage":{"prompt_tokens":1,"completion_tokens":1}}'],
    ['with nothing beside it', 'data: {"usage":null}'],
    ['where it is not JSON', 'data: {"choices":[],"usage":null'],
  ])('%s, stays', (_where, sent) => {
    expect(pushed(`${sent}\n\n`)).toBe(`${sent}\n\n`);
  });

  test('is cut whatever else the event holds, and nothing else changes', () => {
    const value = fc.dictionary(fc.string(), fc.jsonValue(), { maxKeys: 4 });
    fc.assert(
      fc.property(value, fc.nat(4), (members, at) => {
        const entries = Object.entries(members).filter(([name]) => !['usage', 'error', 'choices'].includes(name));
        if (entries.length === 0 || JSON.stringify(entries).includes('"usage":null')) return;
        const cut = Math.min(at, entries.length);
        const all = [...entries.slice(0, cut), ['usage', null] as const, ...entries.slice(cut)];
        const object = (list: readonly (readonly [string, unknown])[]) =>
          `{${list.map(([name, one]) => `${JSON.stringify(name)}:${JSON.stringify(one)}`).join(',')}}`;
        expect(pushed(`data: ${object(all)}\n\n`)).toBe(`data: ${object(entries)}\n\n`);
      }),
    );
  });
});

test('after an error or [DONE] nothing more reaches the client', () => {
  const done = new ChatTap(true, true);
  expect(done.push(bytes('data: [DONE]\n\ndata: more\n\n'))).toHaveLength(1);
  expect(done.end()).toEqual([]);
  const failed = new ChatTap(true, true);
  expect(failed.push(bytes('data: {"error":{"message":"x"}}\n\ndata: [DONE]\n\n'))).toHaveLength(1);
  expect(failed.end()).toEqual([]);
  expect(failed.complete).toBe(false);
});

describe('a stream passes byte for byte', () => {
  const chunk = (text: string) => `data: {"choices":[{"delta":{"content":"${text}"}}]}`;
  const usage = 'data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}';
  const pass = (pieces: readonly Uint8Array[], asked: boolean) => {
    const tap = new ChatTap(true, asked);
    const out = pieces.flatMap((piece) => tap.push(piece));
    return Buffer.concat([...out, ...tap.end()]).toString();
  };
  const cutAt = (whole: Uint8Array, cuts: readonly number[]) => {
    const at = [0, ...cuts.filter((cut) => cut < whole.length).sort((a, b) => a - b), whole.length];
    return at.slice(1).map((to, i) => whole.slice(at[i], to));
  };

  test.each(['\r\n', '\n', '\r'])('with lines that end in %j, in one piece and byte by byte', (eol) => {
    const lines = [chunk('a'), ': keep-alive', usage, 'data: [DONE]'].map((line) => `${line}${eol}${eol}`);
    const sent = lines.join('');
    for (const piece of [
      [bytes(sent)],
      cutAt(
        bytes(sent),
        [...sent].map((_, i) => i),
      ),
    ]) {
      expect(pass(piece, true)).toBe(sent);
      expect(pass(piece, false)).toBe(lines.filter((line) => !line.startsWith(usage)).join(''));
    }
  });

  test('with any mix of line ends, cut anywhere, up to its end and no further', () => {
    const eol = fc.constantFrom('\n', '\r\n', '\r');
    const line = fc.constantFrom(chunk('é😀'), ': keep-alive', 'event: x', '', usage);
    const body = fc.array(fc.tuple(line, eol, eol), { maxLength: 8 });
    fc.assert(
      fc.property(
        body,
        eol,
        eol,
        fc.constantFrom('', 'x\n\n', 'data: y\r\n\r\n'),
        fc.array(fc.nat(600)),
        (lines, a, b, after, cuts) => {
          // A CR and the LF of an empty line would be one line end.
          const text = lines.map(([one, first, second]) =>
            one === '' ? `:${first}${second}` : `${one}${first}${first}:${second}${second}`,
          );
          const done = `data: [DONE]${a}${b === '\n' && a === '\r' ? '\r' : b}`;
          const sent = `${text.join('')}\n\n${done}`;
          expect(pass(cutAt(bytes(`${sent}${after}`), cuts), true)).toBe(sent);
        },
      ),
    );
  });

  test.each(['\r', '\n'])('an LF far behind the end is not of the end %j', (eol) => {
    const end = `data: [DONE]${eol}${eol}`;
    expect(pass([bytes(end), bytes('x'), bytes('\n')], true)).toBe(end);
    expect(pass([bytes(`${end}x`), bytes('\n')], true)).toBe(end);
  });
});

test('prices are exact decimals and cost is rounded once', () => {
  const usage = { promptTokens: 3, completionTokens: 1, cachedTokens: 1, cacheWriteTokens: 0, reasoningTokens: 0 };
  expect(costMicroDollars(usage, parsePrices('0.15', '0.60', '0.075') as Prices)).toBe(1n);
  expect(costMicroDollars({ ...usage, promptTokens: 3_000_001 }, parsePrices('0.15', '0.60', '0.1') as Prices)).toBe(
    450_001n,
  );
  for (const wrong of ['-1', '1e3', '0.1234567', '', '1.']) expect(parsePrices(wrong, '1')).toBeNull();
});

describe('a secret', () => {
  test('is not printed', () => {
    const secret = Secret.fromEnvironment('K', { K: ' sk-1\n' });
    expect(secret.value()).toBe('sk-1');
    expect(
      `${secret} ${JSON.stringify({ secret })} ${inspect({ secret }, { showHidden: true, depth: 9 })}`,
    ).not.toContain('sk-1');
    expect(Secret.fromEnvironment('K', { K: 'a\nb' }).value()).toBeNull();
  });

  test('is read again when its file changes, and kept when the file is gone', () => {
    const directory = mkdtempSync(join(tmpdir(), 'weft-secret-'));
    try {
      const path = join(directory, 'key');
      let nowMs = 0;
      const secret = Secret.fromFile(path, () => nowMs);
      expect(secret.value()).toBeNull();
      writeFileSync(path, 'one\n');
      expect(secret.value()).toBeNull();
      nowMs += 1000;
      expect(secret.value()).toBe('one');
      writeFileSync(path, 'two\n');
      utimesSync(path, 5, 5);
      nowMs += 999;
      expect(secret.value()).toBe('one');
      nowMs += 1;
      expect(secret.value()).toBe('two');
      rmSync(path);
      nowMs += 1000;
      expect(secret.value()).toBe('two');
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
});
