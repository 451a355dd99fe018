// The variables of the OpenTelemetry specification that the exporter reads by itself, or that Weft does not respect: what it
// would pass over in silence is said here.

type Environment = Readonly<Record<string, string | undefined>>;

/** Least value of each setting that is a number; smaller ones are as none. */
export const NUMBERS: Readonly<Record<string, number>> = {
  OTEL_BSP_SCHEDULE_DELAY: 0,
  OTEL_BSP_EXPORT_TIMEOUT: 1,
  OTEL_BSP_MAX_QUEUE_SIZE: 1,
  OTEL_BSP_MAX_EXPORT_BATCH_SIZE: 1,
  OTEL_EXPORTER_OTLP_TIMEOUT: 1,
  OTEL_EXPORTER_OTLP_TRACES_TIMEOUT: 1,
};

/** `key=value` pairs with commas between. */
const LISTS = ['OTEL_RESOURCE_ATTRIBUTES', 'OTEL_EXPORTER_OTLP_HEADERS', 'OTEL_EXPORTER_OTLP_TRACES_HEADERS'];

/** What travels with calls: trace context is carried on, baggage passed as it is. */
const PROPAGATORS = new Set(['tracecontext', 'baggage', 'none']);

/** Whether `text` is the value of a number setting, from `min` on. */
export function isSetting(text: string, min: number): boolean {
  return /^\d{1,9}$/.test(text) && Number(text) >= min;
}

/** A line for the log each, of the format of trace context, which holds whether spans are exported or not. */
export function propagationMistakes(environment: Environment): string[] {
  const unknown = itemsOf(environment.OTEL_PROPAGATORS).filter((name) => !PROPAGATORS.has(name));
  if (unknown.length === 0) return [];
  return [
    `OTEL_PROPAGATORS=${environment.OTEL_PROPAGATORS} is not supported (${unknown.join(', ')}): W3C trace context is carried on; write tracecontext`,
  ];
}

/** A line for the log each, of how spans are exported. Values of headers, which may be secrets, are never in it. */
export function exportMistakes(environment: Environment): string[] {
  const mistakes: string[] = [];
  const check = (name: string, isGood: (text: string) => boolean, why: string): void => {
    const text = environment[name] ?? '';
    if (text !== '' && !isGood(text)) mistakes.push(`${name}${LISTS.includes(name) ? '' : `=${text}`} ${why}`);
  };
  for (const name of ['OTEL_EXPORTER_OTLP_PROTOCOL', 'OTEL_EXPORTER_OTLP_TRACES_PROTOCOL']) {
    const why =
      "is not supported, so spans go as http/json: name the collector's HTTP port, by custom 4318, and write http/json";
    check(name, (text) => text === 'http/json', why);
  }
  for (const name of ['OTEL_EXPORTER_OTLP_COMPRESSION', 'OTEL_EXPORTER_OTLP_TRACES_COMPRESSION']) {
    check(name, (text) => text === 'gzip' || text === 'none', 'is not supported: write gzip, or none');
  }
  for (const [name, min] of Object.entries(NUMBERS)) {
    check(name, (text) => isSetting(text, min), `is no whole number from ${min} on, so the default holds`);
  }
  for (const name of LISTS) {
    check(name, isList, 'is no list of key=value pairs with commas between, so what is wrong of it is left out');
  }
  return mistakes;
}

/** The parts of a list with commas between, without spaces around them. */
export function itemsOf(text = ''): string[] {
  return text
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '');
}

/** Percent-encoded, as W3C baggage. */
function isList(text: string): boolean {
  return itemsOf(text).every((item) => {
    try {
      decodeURIComponent(item);
    } catch {
      return false;
    }
    return item.indexOf('=') > 0;
  });
}
