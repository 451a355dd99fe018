// `weft explain`: one question to one sidecar's admin port, without going through the control plane.

import { request } from 'node:http';
import { EXIT } from '../../proto/kit/exit.ts';
import { methodMistake } from '../../proto/kit/http-words.ts';
import { parseSpiffeId } from '../../proto/kit/spiffe.ts';
import { CommandError } from './command-error.ts';

/** The request that is asked about, and whom to ask. */
export interface ExplainOptions {
  /** `host:port`. */
  readonly admin: string;
  readonly direction: string;
  readonly caller?: string;
  /** Lines `name: value`. */
  readonly header?: readonly string[];
  readonly json?: boolean;
}

/** The sidecar's answer is a page; more is not one. */
const ANSWER_BYTES_MAX = 4 * 1024 * 1024;
const TIMEOUT_MS = 10_000;

/** Prints the decision. Throws CommandError: 64 for a bad question, 69 when no sidecar answers. */
export async function explain(
  method: string,
  url: string,
  options: ExplainOptions,
  out: { write(text: string): unknown },
): Promise<void> {
  const answer = await ask(options.admin, `/explain?${queryOf(method, url, options)}`);
  let value: unknown;
  try {
    value = JSON.parse(answer.body);
  } catch {
    throw new CommandError(
      EXIT.unavailable,
      `${options.admin} did not answer with JSON; is it a sidecar's admin port?`,
    );
  }
  if (answer.status >= 400) {
    const said = (value as { error?: unknown }).error ?? answer.body;
    const code = answer.status < 500 ? EXIT.commandLine : EXIT.unavailable;
    throw new CommandError(code, `the sidecar at ${options.admin} answered ${answer.status}: ${String(said)}`);
  }
  out.write(options.json === true ? `${JSON.stringify(value, null, 2)}\n` : lines(value, ''));
}

/** The query of the admin's `/explain`. */
export function queryOf(method: string, url: string, options: ExplainOptions): string {
  const text = /^[a-z]+:\/\//i.test(url) ? url : `http://${url}`;
  if (!URL.canParse(text)) throw new CommandError(EXIT.commandLine, `${url} is not a URL; write http://orders/path`);
  if (options.direction !== 'outbound' && options.direction !== 'inbound') {
    throw new CommandError(EXIT.commandLine, `--direction ${options.direction} is neither outbound nor inbound`);
  }
  const wrong = methodMistake(method.toUpperCase());
  if (wrong !== null) throw new CommandError(EXIT.commandLine, `${wrong.message}; write one method, such as GET`);
  const { host, pathname, search } = new URL(text);
  const query = new URLSearchParams({
    direction: options.direction,
    method: method.toUpperCase(),
    authority: host,
    path: `${pathname}${search}`,
  });
  if (options.caller !== undefined) {
    const caller = parseSpiffeId(options.caller);
    if (!caller.ok) throw new CommandError(EXIT.commandLine, `--caller: ${caller.error}`);
    query.set('caller', caller.id);
  }
  for (const line of options.header ?? []) {
    const colon = line.indexOf(':');
    if (colon < 1) throw new CommandError(EXIT.commandLine, `-H '${line}' is not a header; write 'name: value'`);
    query.append('header', `${line.slice(0, colon).trim().toLowerCase()}:${line.slice(colon + 1).trim()}`);
  }
  return query.toString();
}

function ask(admin: string, path: string): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    const fail = (why: string): void =>
      reject(
        new CommandError(
          EXIT.unavailable,
          `cannot reach a sidecar's admin port at ${admin} (${why}); is the sidecar running? Another one is given with --admin HOST:PORT`,
        ),
      );
    if (!URL.canParse(`http://${admin}`)) {
      reject(new CommandError(EXIT.commandLine, `--admin ${admin} is not HOST:PORT`));
      return;
    }
    const asked = request(`http://${admin}${path}`, { agent: false, timeout: TIMEOUT_MS }, (response) => {
      let body = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => {
        body += chunk;
        if (body.length > ANSWER_BYTES_MAX) asked.destroy(new Error('the answer is too long'));
      });
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body }));
    });
    asked.on('timeout', () => asked.destroy(new Error(`no answer within ${TIMEOUT_MS / 1000} s`)));
    asked.on('error', (error) => fail(error.message || (error as NodeJS.ErrnoException).code || 'failed'));
    asked.end();
  });
}

/** JSON as YAML would have it: `key: value` lines, lists with a dash. */
function lines(value: unknown, indent: string): string {
  if (typeof value !== 'object' || value === null) return `${indent}${String(value)}\n`;
  if (Array.isArray(value)) {
    // The dash stands in the indentation of the item's first line.
    return value.map((item) => `${indent}- ${lines(item, `${indent}  `).slice(indent.length + 2)}`).join('');
  }
  return Object.entries(value)
    .map(([key, item]) => {
      if (typeof item !== 'object' || item === null) return `${indent}${key}: ${item === '' ? 'none' : String(item)}\n`;
      const inner = lines(item, `${indent}  `);
      return inner === '' ? `${indent}${key}: none\n` : `${indent}${key}:\n${inner}`;
    })
    .join('');
}
