// Everything that one real sidecar prints, answers and exports while calls to models succeed and fail: the provider's
// keys, the workload's private key and what the application sent as its own are in none of it.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { expect, test } from 'vitest';
import { ModelSchema, ProviderSchema, TelemetrySchema } from '../../proto/gen/weft/mesh/v1/resources_pb.js';
import { type ApiKey, ProviderFormat } from '../../proto/gen/weft/policy/v1/ai_pb.js';
import type { ResourceBytes } from '../../sidecar/base/messages.ts';
import type { SidecarProcess } from '../support/sidecar-process.ts';
import { identityOptions, useApps, useAuthority, useSidecars } from '../support/use.ts';
import { resource, until } from '../support/worker-rig.ts';

const FILE_KEY = 'sk-in-a-file-4f1c2b7d9e';
const ENV_KEY = 'sk-in-the-environment-8a3e5d';
const APP_KEY = 'sk-of-the-application-77b0c1';
const PROMPT = 'my-very-private-prompt';

const apps = useApps();
const authority = useAuthority();
const processes = useSidecars();

/** A model and its provider of the same name. */
function model(name: string, port: number, source: ApiKey['source']): ResourceBytes[] {
  const baseUrl = `http://127.0.0.1:${port}/v1`;
  const spec = { format: ProviderFormat.OPENAI_CHAT, baseUrl, apiKey: { source } };
  return [
    resource(ProviderSchema, `shop/${name}`, { name: `shop/${name}`, spec }),
    resource(ModelSchema, `shop/${name}`, {
      name: `shop/${name}`,
      spec: { aliases: [name], targets: [{ provider: `shop/${name}`, model: 'm' }] },
    }),
  ];
}

/** Key, certificate and roots as options, and the lines of the key. */
async function identity(): Promise<{ args: string[]; keyLines: string[]; spiffeId: string }> {
  const issued = await authority.issue('web');
  const args = identityOptions(processes.folder, 'web', issued);
  const keyLines = issued.privateKeyPem.split('\n').filter((line) => line !== '' && !line.startsWith('-----'));
  return { args, keyLines, spiffeId: issued.spiffeId };
}

async function chat(sidecar: SidecarProcess, name: string, stream: boolean): Promise<number> {
  const response = await fetch(`http://127.0.0.1:${sidecar.ports.ai}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${APP_KEY}`, 'x-own': APP_KEY },
    body: JSON.stringify({ model: name, stream, messages: [{ role: 'user', content: PROMPT }] }),
  });
  await response.text();
  return response.status;
}

/** Every page of the three small servers, as far as it can be read. */
async function pages(sidecar: SidecarProcess): Promise<string[]> {
  const { paths } = JSON.parse((await sidecar.get('admin', '/')).text) as { paths: string[] };
  const found = [(await sidecar.get('metrics', '/metrics')).text, (await sidecar.get('readiness', '/ready')).text];
  for (const path of paths.filter((one) => one.startsWith('GET ')).map((one) => one.slice(4))) {
    const query = path === '/explain' ? '?authority=file&path=/v1/chat/completions' : '';
    const { status, text: page } = await sidecar.get('admin', `${path}${query}`);
    expect(status, path).toBe(200);
    found.push(page);
  }
  expect(found.length).toBeGreaterThan(6);
  return found;
}

test('CVE class 14: no key and no prompt leaves the sidecar but for where it belongs', async () => {
  const shown: (string | undefined)[] = [];
  const provider = await apps.http((request, response) => {
    shown.push(request.headers.authorization);
    request.resume().on('end', () => {
      if (request.headers.authorization !== `Bearer ${FILE_KEY}`) return void response.writeHead(401).end('{}');
      response.setHeader('content-type', 'text/event-stream');
      // A stream that breaks off: its error passes through every place that describes errors.
      response.write('data: {"choices":[]}\n\n', () => request.socket.destroy());
    });
  });
  const exported: string[] = [];
  const collector = await apps.http(async (request, response) => {
    exported.push(await text(request));
    response.end('{}');
  });
  const keyFile = join(processes.folder, 'provider.key');
  writeFileSync(keyFile, `${FILE_KEY}\n`, { mode: 0o600 });
  const own = await identity();
  const spec = { accessLog: { samplingPercent: 100 } };
  const resources = [
    ...model('file', provider, { case: 'file', value: keyFile }),
    ...model('env', provider, { case: 'env', value: 'PROVIDER_KEY' }),
    ...model('away', 1, { case: 'file', value: keyFile }),
    resource(TelemetrySchema, 'shop/log', { name: 'shop/log', callersWithoutService: true, spec }),
  ];
  const stateDir = join(processes.folder, 'state');
  const snapshot = processes.snapshot(resources, own.spiffeId);
  const sidecar = await processes.start(
    ['--snapshot', snapshot, '--state-dir', stateDir, '--log-level', 'trace', ...own.args],
    { env: { PROVIDER_KEY: ENV_KEY, OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${collector}` } },
  );
  const statuses = [await chat(sidecar, 'file', true), await chat(sidecar, 'env', false)];
  statuses.push(await chat(sidecar, 'away', false), await chat(sidecar, 'unknown', false));
  expect(statuses).toEqual([200, 401, 503, 404]);
  expect(shown).toEqual([`Bearer ${FILE_KEY}`, `Bearer ${ENV_KEY}`]);
  const read = await pages(sidecar);
  await until('every call is logged', () => sidecar.out.trim().split('\n').length >= 4);
  sidecar.child.kill('SIGTERM');
  expect(await sidecar.ended()).toBe(0);
  expect(exported.join()).toContain('resourceSpans');
  expect(sidecar.err).toContain('serving');

  const everything = {
    stdout: sidecar.out,
    stderr: sidecar.err,
    exported: exported.join('\n'),
    pages: read.join('\n'),
  };
  const secrets = [FILE_KEY, ENV_KEY, APP_KEY, PROMPT, ...own.keyLines];
  for (const [where, content] of Object.entries(everything)) {
    for (const secret of secrets) expect(content, `${secret} in ${where}`).not.toContain(secret);
  }
});
