// The tour's chat: streamed through the web application, which holds no key; tokens counted by the sidecar.

import { readFileSync } from 'node:fs';
import { until } from '../until.ts';
import { call, metricSum, sidecarPort, type TourContext } from './context.ts';
import { must, type Step } from './step.ts';

const QUESTION = 'is the brass lamp still in stock today';
/** The mock's tokens are words: the application's system prompt has 7, the question 8; the answer adds `You said:`. */
const TOKENS = { input: 15, output: 10 };

export const modelSteps: readonly Step<TourContext>[] = [
  {
    name: 'a streamed chat completion',
    expected: `the answer in more than one piece; ${TOKENS.input} input and ${TOKENS.output} output tokens counted; the provider refuses calls without its key, and the application has none`,
    boundMs: 15_000,
    async run({ mesh, providerKey, providerPort }) {
      const web = mesh.instance('web');
      const keyless = await call(providerPort, 'POST', '/v1/chat/completions', {}, '{}');
      must(keyless.status === 401, `the provider answered ${keyless.status} without a key`);
      const environment = environmentOf(web.app.pid);
      must(
        environment !== null ? !environment.includes(providerKey) : true,
        'the application has the key in its environment',
      );
      const before = await tokens(sidecarPort(web, 'metrics'));
      const response = await fetch(`http://127.0.0.1:${web.appPort}/ask`, {
        method: 'POST',
        body: JSON.stringify({ question: QUESTION }),
        signal: AbortSignal.timeout(10_000),
      });
      let pieces = 0;
      let text = '';
      for await (const chunk of response.body?.pipeThrough(new TextDecoderStream()) ?? []) {
        pieces++;
        text += chunk;
      }
      must(response.status === 200, `${response.status}: ${text}`);
      must(text.trim() === `You said: ${QUESTION}`, `the answer was ${JSON.stringify(text)}`);
      must(pieces > 1, 'the answer came in one piece');
      must(!web.app.log().includes(providerKey) && !web.sidecar.log().includes(providerKey), 'the key is in a log');
      const counted = await until('the tokens are counted', 5_000, async () => {
        const now = await tokens(sidecarPort(web, 'metrics'));
        const added = { input: now.input - before.input, output: now.output - before.output };
        return added.input > 0 && added.output > 0 ? added : false;
      });
      const { input, output } = counted;
      must(input === TOKENS.input && output === TOKENS.output, `counted ${input} input and ${output} output tokens`);
      const where = environment === null ? 'its log' : 'its environment or log';
      return `${JSON.stringify(text.trim())} in ${pieces} pieces; ${input} input and ${output} output tokens; without the key 401, and no key in the application: not in ${where}`;
    },
  },
];

async function tokens(port: number): Promise<{ input: number; output: number }> {
  const { body } = await call(port, 'GET', '/metrics');
  const of = (type: string) => metricSum(body, 'weft_ai_tokens_total', { type });
  return { input: of('input'), output: of('output') };
}

/** As Linux shows it; null elsewhere. */
function environmentOf(pid: number): string | null {
  try {
    return readFileSync(`/proc/${pid}/environ`, 'utf8');
  } catch {
    return null;
  }
}
