// Tokens and money of one model call. Prices are decimal fractions and bills are sums of millions of calls, so money
// is counted in integers.

import { isObject } from '../../proto/kit/is-object.ts';

/** Tokens as the provider counted them. */
export interface Usage {
  /** All of the prompt, cached tokens included. */
  promptTokens: number;
  /** All that was generated, reasoning included. */
  completionTokens: number;
  /** Of the prompt: read from the provider's cache. */
  cachedTokens: number;
  /** Of the prompt: written to the provider's cache. */
  cacheWriteTokens: number;
  /** Of the completion. */
  reasoningTokens: number;
}

/** A dollar per million tokens is a micro-dollar per token, so these are pico-dollars per token: six decimals of a price are exact. */
export interface Prices {
  prompt: bigint;
  completion: bigint;
  cached: bigint;
  cacheWrite: bigint;
}

/** Prices from decimal texts in dollars per million tokens, e.g. `2.50`. Cached and cache-write tokens cost what the prompt costs unless given. Null when a text is not a decimal with at most six fraction digits. */
export function parsePrices(prompt: string, completion: string, cached = prompt, cacheWrite = prompt): Prices | null {
  const texts = [prompt, completion, cached, cacheWrite];
  if (!texts.every((text) => /^\d{1,9}(\.\d{1,6})?$/.test(text))) return null;
  return {
    prompt: picoDollars(prompt),
    completion: picoDollars(completion),
    cached: picoDollars(cached),
    cacheWrite: picoDollars(cacheWrite),
  };
}

/** What a call costs in micro-dollars, rounded half up once, at the end. */
export function costMicroDollars(usage: Usage, prices: Prices): bigint {
  const plain = Math.max(0, usage.promptTokens - usage.cachedTokens - usage.cacheWriteTokens);
  const pico =
    BigInt(plain) * prices.prompt +
    BigInt(usage.cachedTokens) * prices.cached +
    BigInt(usage.cacheWriteTokens) * prices.cacheWrite +
    BigInt(usage.completionTokens) * prices.completion;
  return (pico + 500_000n) / 1_000_000n;
}

/** Reads the `usage` object of OpenAI's chat completions; null when it is none. */
export function parseUsage(value: unknown): Usage | null {
  if (!isObject(value)) return null;
  const prompt = isObject(value['prompt_tokens_details']) ? value['prompt_tokens_details'] : {};
  const completion = isObject(value['completion_tokens_details']) ? value['completion_tokens_details'] : {};
  return {
    promptTokens: count(value['prompt_tokens']),
    completionTokens: count(value['completion_tokens']),
    cachedTokens: count(prompt['cached_tokens']),
    cacheWriteTokens: count(prompt['cache_write_tokens']),
    reasoningTokens: count(completion['reasoning_tokens']),
  };
}

function picoDollars(text: string): bigint {
  const [whole = '0', fraction = ''] = text.split('.');
  return BigInt(whole + fraction.padEnd(6, '0'));
}

function count(value: unknown): number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value > 0 ? value : 0;
}
