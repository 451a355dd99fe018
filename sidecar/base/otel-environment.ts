// The variables of the OpenTelemetry specification that decide at start: whether spans are exported, and which share of
// new traces is sampled where no Telemetry policy says so. What cannot be respected is said, and never stops anything.

import { exportMistakes, itemsOf, propagationMistakes } from './otel-mistakes.ts';

type Environment = Readonly<Record<string, string | undefined>>;

/** What the environment says of spans. */
export interface OtelEnvironment {
  readonly exportsSpans: boolean;
  /** Share of new traces that are sampled, 0 to 1; a caller's decision is kept, as `parentbased_*` says. Default 1. */
  readonly traceShare: number;
  /** A line for the log each: variable, value and fix. */
  readonly mistakes: readonly string[];
}

const ENDPOINTS = ['OTEL_EXPORTER_OTLP_ENDPOINT', 'OTEL_EXPORTER_OTLP_TRACES_ENDPOINT'] as const;
const EXPORTER = 'OTEL_TRACES_EXPORTER';
const SAMPLER = 'OTEL_TRACES_SAMPLER';
const SAMPLER_ARG = 'OTEL_TRACES_SAMPLER_ARG';

/**
 * Reads them. An exporter without a place sends to the specification's, `http://localhost:4318`; a place that is no URL
 * gets nothing, rather than that one.
 */
export function readOtelEnvironment(environment: Environment): OtelEnvironment {
  const mistakes = propagationMistakes(environment);
  const wrong = (name: string, why: string): void => {
    mistakes.push(`${name}=${environment[name]} ${why}`);
  };
  const traceShare = shareOf(environment, wrong);
  if (environment.OTEL_SDK_DISABLED?.toLowerCase() === 'true') return { exportsSpans: false, traceShare, mistakes };
  const exporters = itemsOf(environment[EXPORTER]);
  const unknown = exporters.filter((name) => name !== 'otlp' && name !== 'none');
  if (unknown.length > 0) wrong(EXPORTER, `is not supported (${unknown.join(', ')}): write otlp, or none`);
  const places = ENDPOINTS.filter((name) => (environment[name] ?? '') !== '');
  const unusable = places.filter((name) => !isHttpUrl(environment[name] as string));
  for (const name of unusable) wrong(name, 'is no URL, so no spans are exported: write http://HOST:4318');
  const wanted = exporters.length === 0 ? places.length > 0 : exporters.includes('otlp') && !exporters.includes('none');
  if (wanted) mistakes.push(...exportMistakes(environment));
  return { exportsSpans: wanted && unusable.length === 0, traceShare, mistakes };
}

function isHttpUrl(text: string): boolean {
  return /^https?:\/\//i.test(text) && URL.canParse(text);
}

function shareOf(environment: Environment, wrong: (name: string, why: string) => void): number {
  const sampler = environment[SAMPLER] ?? '';
  switch (sampler.replace(/^parentbased_/, '')) {
    case '':
    case 'always_on':
      return 1;
    case 'always_off':
      return 0;
    case 'traceidratio': {
      const text = environment[SAMPLER_ARG] ?? '';
      const share = text === '' ? 1 : Number(text);
      if (share >= 0 && share <= 1) return share;
      // As the specification wants bad values treated.
      wrong(SAMPLER_ARG, 'is no ratio, so 1 holds: write a number from 0 to 1');
      return 1;
    }
    default:
      wrong(SAMPLER, 'is not supported, so always_on holds: write always_on, always_off or traceidratio');
      return 1;
  }
}
