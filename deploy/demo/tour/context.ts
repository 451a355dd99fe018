// What the tour's steps work with: the running mesh, and short ways to call it and to ask it.

import { execFile } from 'node:child_process';
import { request } from 'node:http';
import type { Load } from '../load.ts';
import { startLoad } from '../load.ts';
import type { Instance, Mesh } from '../mesh.ts';
import type { OtlpReceiver } from '../otlp.ts';
import { program } from '../program.ts';

/** Handed to every step. */
export interface TourContext {
  readonly mesh: Mesh;
  readonly receiver: OtlpReceiver;
  readonly providerKey: string;
  readonly providerPort: number;
}

/** What an HTTP call came to. */
export interface Answer {
  readonly status: number;
  readonly body: string;
}

const CALL_MS_MAX = 10_000;
/** The load: enough that one lost request shows, little enough for a laptop. */
const LOAD = { ratePerS: 200, requests: 1_000, timeoutMs: 10_000, outstandingMax: 1_000 } as const;

/** One HTTP call with a connection of its own. Rejects when there is no whole answer within 10 s. */
export function call(
  port: number,
  method: string,
  path: string,
  headers: Record<string, string> = {},
  body = '',
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const options = { host: '127.0.0.1', port, method, path, headers, agent: false, timeout: CALL_MS_MAX };
    const sent = request(options, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () => {
        resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString() });
      });
    });
    sent.on('timeout', () => sent.destroy(new Error(`${method} ${path}: no answer within ${CALL_MS_MAX} ms`)));
    sent.on('error', (error) => reject(new Error(`${method} ${path} on port ${port}: ${error.message}`)));
    sent.end(body);
  });
}

/** GETs of one order, as the web application would send them. @param stopWhen see LoadOptions. */
export function loadOrders(context: TourContext, stopWhen: () => boolean = () => true): Load {
  const port = sidecarPort(context.mesh.instance('web'), 'outbound');
  return startLoad({ ...LOAD, host: '127.0.0.1', port, path: '/orders/7', headers: { host: 'orders' }, stopWhen });
}

/** A port of an instance's sidecar. */
export function sidecarPort({ sidecar }: Instance, name: string): number {
  const port = sidecar.ports[name];
  if (port === undefined) throw new Error(`${sidecar.name} has no port ${name}`);
  return port;
}

/** GET of a sidecar's admin, as JSON. */
export async function admin<T>(instance: Instance, path: string): Promise<T> {
  const { status, body } = await call(sidecarPort(instance, 'admin'), 'GET', path);
  if (status !== 200) throw new Error(`${instance.sidecar.name} answered ${path} with ${status}: ${body}`);
  return JSON.parse(body) as T;
}

/** The `weft` command, as people run it. Rejects when it does not exit with 0. */
export function weft(...args: string[]): Promise<string> {
  const env = { PATH: process.env['PATH'] ?? '' };
  return new Promise((resolve, reject) => {
    execFile(process.execPath, [program('deploy/cli/weft'), ...args], { env }, (error, out, err) => {
      if (error === null) resolve(out);
      else reject(new Error(`weft ${args.join(' ')}: ${err.trim() || error.message}`));
    });
  });
}

/** Where `weft status` and `weft get` ask. */
export function apiFlags({ mesh }: TourContext): string[] {
  return ['--api', `http://127.0.0.1:${mesh.controlPlane.ports['api']}`, '--admin-token-file', mesh.adminTokenFile];
}

/** The sum of a family's samples whose labels include `labels`, from a Prometheus page. */
export function metricSum(page: string, family: string, labels: Readonly<Record<string, string>>): number {
  let sum = 0;
  for (const line of page.split('\n')) {
    if (!line.startsWith(`${family}{`)) continue;
    const wanted = Object.entries(labels).every(([name, value]) => line.includes(`${name}="${value}"`));
    if (wanted) sum += Number(line.slice(line.lastIndexOf(' ') + 1));
  }
  return sum;
}

/** A trace of our own, so that its spans can be found again. */
export function newTrace(): { traceId: string; headers: Record<string, string> } {
  const hex = (bytes: number) => Buffer.from(crypto.getRandomValues(new Uint8Array(bytes))).toString('hex');
  const traceId = hex(16);
  return { traceId, headers: { traceparent: `00-${traceId}-${hex(8)}-01` } };
}
