// Providers and Models: where calls go, under which names, and whether they would come back as calls of a Model.
import type { ModelTarget } from '../../proto/gen/weft/policy/v1/ai_pb.js';
import { nearest } from '../../proto/kit/nearest.ts';
import type { Report } from './check.ts';
import { placeOf } from './check.ts';
import type { Resource } from './resource.ts';
import { resourceId } from './resource.ts';

/** Where a sidecar takes calls to models unless an option says otherwise (DESIGN). */
const AI_PORT = 15_004;

export function checkProvider(provider: Resource<'Provider'>, report: Report): void {
  const path = 'spec.baseUrl';
  const text = provider.message.spec?.baseUrl ?? '';
  if (!/^https?:\/\//.test(text)) return;
  if (!URL.canParse(text) || new URL(text).port === '0') {
    report(provider, path, `"${text}" is not a URL`, 'write a whole URL, such as https://api.example.com/v1');
    return;
  }
  const url = new URL(text);
  if (url.protocol === 'http:' && !isLoopback(url)) {
    report(
      provider,
      path,
      'plain http would send the key in the clear',
      `write \`https://${text.slice('http://'.length)}\``,
    );
  }
  if (url.username !== '' || url.password !== '')
    report(provider, path, 'a URL must not hold credentials', 'use apiKey.file or apiKey.env');
  if (url.search !== '' || url.hash !== '' || /[?#]/.test(text))
    report(provider, path, 'query and fragment are never sent', `write \`${url.origin}${url.pathname}\``);
  const called = /\/chat\/completions\/?$/.exec(url.pathname);
  if (called !== null) {
    const base = `${url.origin}${url.pathname.slice(0, called.index)}`;
    report(provider, path, 'the sidecar adds /chat/completions itself', `write \`${base}\``);
  }
}

function isLoopback({ hostname }: URL): boolean {
  return hostname === 'localhost' || hostname === '[::1]' || /^127\.\d+\.\d+\.\d+$/.test(hostname);
}

/** Reports Models whose targets do not exist or come back, and names that two of them answer to. */
export function checkModels(
  models: readonly Resource<'Model'>[],
  providers: readonly Resource<'Provider'>[],
  report: Report,
): void {
  const known = new Set(providers.map((provider) => `${provider.namespace}/${provider.name}`));
  const aliases = new Map<string, Resource<'Model'>>();
  checkLoops(models, providers, report);
  for (const model of models) {
    const targets = model.message.spec?.targets ?? [];
    targets.forEach((target, i) => {
      checkTarget(model, targets, i, report);
      if (target.provider === '' || known.has(`${model.namespace}/${target.provider}`)) return;
      const local = providers.filter((p) => p.namespace === model.namespace).map((p) => p.name);
      const close = nearest(target.provider, local);
      const fix = close ? `write \`${close}\`` : `add a Provider named ${target.provider}`;
      report(
        model,
        `spec.targets[${i}].provider`,
        `there is no Provider ${target.provider} in namespace ${model.namespace}`,
        fix,
      );
    });
    if (targets.length > 0 && targets.every((target) => target.weight === 0)) {
      report(
        model,
        'spec.targets',
        'the weights add up to 0: no target could ever be chosen',
        'give one target a weight above 0',
      );
    }
    const written = model.message.spec?.aliases ?? [];
    written.forEach((alias, i) => {
      checkWord(model, `spec.aliases[${i}]`, alias, report);
    });
    aliasesOf(model).forEach((alias, i) => {
      const key = `${model.namespace}/${alias}`;
      const other = aliases.get(key);
      aliases.set(key, other ?? model);
      if (other === undefined || resourceId(other) === resourceId(model)) return;
      const path = written.length > 0 ? `spec.aliases[${i}]` : 'metadata.name';
      report(
        model,
        path,
        `${resourceId(other)} answers to "${alias}" too (${placeOf(other, 'metadata.name')})`,
        'choose another alias',
      );
    });
  }
}

/** What applications may write for a Model: its own name when it lists none. */
function aliasesOf(model: Resource<'Model'>): string[] {
  const written = model.message.spec?.aliases ?? [];
  return written.length > 0 ? written : [model.name];
}

function checkTarget(model: Resource<'Model'>, targets: readonly ModelTarget[], i: number, report: Report): void {
  const { provider, model: name } = targets[i] as ModelTarget;
  checkWord(model, `spec.targets[${i}].model`, name, report);
  const first = targets.findIndex((one) => one.provider === provider && one.model === name);
  if (first < i && provider !== '')
    report(
      model,
      `spec.targets[${i}]`,
      `the same as targets[${first}]`,
      'remove one of the two, and add up the weights',
    );
}

/** A name that no application would write just so. */
function checkWord(model: Resource<'Model'>, path: string, name: string, report: Report): void {
  if (name === name.trim() && !/\p{Cc}/u.test(name)) return;
  const fix = name.trim() === '' ? 'write a name' : 'remove the white space around it and control characters';
  report(model, path, `${JSON.stringify(name)} is not the name of a model`, fix);
}

/** A Provider that is the own sidecar takes a call back to a Model; round and round if that is, or leads to, the same. */
function checkLoops(
  models: readonly Resource<'Model'>[],
  providers: readonly Resource<'Provider'>[],
  report: Report,
): void {
  const own = new Set(providers.filter(isOwnSidecar).map(({ namespace, name }) => `${namespace}/${name}`));
  if (own.size === 0) return;
  const byAlias = new Map<string, Resource<'Model'>>();
  for (const model of models) for (const alias of aliasesOf(model)) byAlias.set(`${model.namespace}/${alias}`, model);
  const nextOf = (model: Resource<'Model'>, target: ModelTarget): Resource<'Model'> | undefined =>
    target.weight !== 0 && own.has(`${model.namespace}/${target.provider}`)
      ? byAlias.get(`${model.namespace}/${target.model}`)
      : undefined;
  for (const model of models) {
    model.message.spec?.targets.forEach((target, i) => {
      const back = pathBack(model, nextOf(model, target), nextOf);
      if (back === null) return;
      const names = [model, ...back].map(({ name }) => name).join(' → ');
      report(
        model,
        `spec.targets[${i}]`,
        `port ${AI_PORT} of localhost is the own sidecar, which would call for ever: ${names}`,
        'name a Provider outside of the mesh',
      );
    });
  }
}

function isOwnSidecar({ message }: Resource<'Provider'>): boolean {
  const text = message.spec?.baseUrl ?? '';
  const url = URL.canParse(text) ? new URL(text) : null;
  return url !== null && isLoopback(url) && url.port === String(AI_PORT);
}

/** The way from `from` to `model`, both ends included; null when there is none. */
function pathBack(
  model: Resource<'Model'>,
  from: Resource<'Model'> | undefined,
  nextOf: (model: Resource<'Model'>, target: ModelTarget) => Resource<'Model'> | undefined,
): Resource<'Model'>[] | null {
  if (from === undefined) return null;
  const before = new Map<Resource<'Model'>, Resource<'Model'> | null>([[from, null]]);
  for (const at of before.keys()) {
    if (at === model) {
      const path: Resource<'Model'>[] = [];
      for (let step: Resource<'Model'> | null = at; step !== null; step = before.get(step) ?? null) path.unshift(step);
      return path;
    }
    for (const target of at.message.spec?.targets ?? []) {
      const next = nextOf(at, target);
      if (next !== undefined && !before.has(next)) before.set(next, at);
    }
  }
  return null;
}
