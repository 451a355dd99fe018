// Redirects as the two programs see them: what `weft check` says of them, and where a caller's own table leads.

import { toBinary } from '@bufbuild/protobuf';
import { check } from '../../control-plane/model/check.ts';
import { needs } from '../../control-plane/model/needs.ts';
import type { Problem, Resource } from '../../control-plane/model/resource.ts';
import { resourceId } from '../../control-plane/model/resource.ts';
import { decodeDocument } from '../../control-plane/source/decode.ts';
import { parseDocuments } from '../../control-plane/source/yaml.ts';
import { buildRouteTable } from '../../sidecar/config/compile-table.ts';
import { Resources } from '../../sidecar/config/resources.ts';
import { redirectHead } from '../../sidecar/filters/redirect/run.ts';
import { matchRoute, type RouteTable } from '../../sidecar/proxy/route.ts';
import { headerValue } from '../../sidecar/wire/headers.ts';
import { Head } from '../../sidecar/wire/stream.ts';

/** A decoded document with its problems. */
type Decoded = ReturnType<typeof decodeDocument>;

/** By JSON text: most policies of a fuzzer's run are the same as in the one before. Bounded by `KEPT_MAX`. */
const kept = new Map<string, Decoded[]>();
const KEPT_MAX = 64;

function decode(text: string): Decoded[] {
  const known = kept.get(text);
  if (known !== undefined) return known;
  const decoded = parseDocuments('p.json', text).documents.map(decodeDocument);
  if (kept.size < KEPT_MAX) kept.set(text, decoded);
  return decoded;
}

/**
 * The problems of `weft check` that `wanted` picks, and the policies that have no other: what could reach a sidecar if
 * there were no such check.
 */
export function beside(
  policies: readonly unknown[],
  wanted: (problem: Problem) => boolean,
): { resources: Resource[]; found: Problem[] } {
  const { resources, broken } = read(policies);
  const others = new Set(check(resources, broken).problems.flatMap((one) => (wanted(one) ? [] : one.resource)));
  const sound = resources.filter((resource) => !broken.has(resource) && !others.has(resourceId(resource)));
  return { resources: sound, found: check(sound, new Set()).problems.filter(wanted) };
}

function read(policies: readonly unknown[]): { resources: Resource[]; broken: Set<Resource> } {
  const decoded = policies.flatMap((policy) => decode(JSON.stringify(policy)));
  const broken = decoded.filter(({ problems }) => problems.length > 0).flatMap(({ resource }) => resource ?? []);
  return { resources: decoded.flatMap(({ resource }) => resource ?? []), broken: new Set(broken) };
}

const CALLER = { trustDomain: 't', namespace: 'default', serviceAccount: 'web' };

/** Whether a GET of `path` from `default/web` is redirected for ever, by the sidecar's own routing; hosts of the mesh alone. */
export function goesRound(resources: readonly Resource[], host: string, path: string): boolean {
  const table = tableOf(resources);
  let head = Head.request('GET', 'http', host, path, []);
  for (let i = 0; i < REDIRECTS_MAX; i++) {
    const route = matchRoute(table, head);
    const redirect = route?.rule.filters.redirect;
    if (route === null || !redirect) return false;
    const prefixLength = route.pathKind === 'prefix' ? route.path.length : 0;
    const location = headerValue(redirectHead(redirect, head, prefixLength).headers, 'location') ?? '';
    const [, scheme, authority = '', rest = ''] = /^(https?):\/\/([^/]+)(.*)$/.exec(location) ?? [];
    if (scheme !== 'http') return false;
    head = Head.request('GET', 'http', authority, rest, []);
  }
  return true;
}

/** Above what any client follows, and above the ways that the fuzzers' few rules can make without going round. */
const REDIRECTS_MAX = 60;

/** As the caller's worker builds it from what the control plane renders. */
function tableOf(resources: readonly Resource[]): RouteTable {
  const worker = new Resources();
  const changes = { services: new Set<string>(), endpoints: new Set<string>(), telemetry: false, revocations: false };
  for (const { schema, name, message } of needs(resources, CALLER)) {
    const typeUrl = `type.googleapis.com/${schema.typeName}`;
    worker.upsert({ typeUrl, name, version: '1', bytes: toBinary(schema, message) }, changes);
  }
  const services = [...worker.services.values()].map(({ message }) => message);
  return buildRouteTable(services, [...worker.routes.values()], CALLER.namespace).table;
}
