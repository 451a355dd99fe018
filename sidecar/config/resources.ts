// The resources that this worker has, decoded and compiled one by one: a bad one is reported and leaves its last good
// in place. What they become together is state.ts.

import { fromBinary } from '@bufbuild/protobuf';
import type { Endpoint, Revocation } from '../../proto/gen/weft/mesh/v1/resources_pb.js';
import {
  AuthorizationSchema,
  DescriptorSetSchema,
  EndpointSchema,
  ModelSchema,
  ProviderSchema,
  RevocationSchema,
  RouteSchema,
  ServiceHostsSchema,
  ServiceSchema,
  TelemetrySchema,
} from '../../proto/gen/weft/mesh/v1/resources_pb.js';
import { compileMethods, type MethodIndex } from '../../proto/kit/transcoded-methods.ts';
import type { ResourceBytes, ResourceError } from '../base/messages.ts';
import { type CompiledAuthorization, compileAuthorization } from '../filters/authorization/compile.ts';
import type { Revoked } from '../identity/revoked.ts';
import { type CompileError, linearRegex } from './compile-match.ts';
import { type CompiledRouteResource, compileRoute } from './compile-route.ts';
import {
  type CompiledModel,
  type CompiledProvider,
  type CompiledService,
  type CompiledTelemetryResource,
  compileHosts,
  compileModel,
  compileProvider,
  compileService,
  compileTelemetry,
} from './compile-service.ts';

const PREFIX = 'type.googleapis.com/weft.mesh.v1.';

/** What changed since the last `drain` of it: names by kind. */
export interface Changes {
  readonly services: Set<string>;
  /** Services whose endpoints changed. */
  readonly endpoints: Set<string>;
  telemetry: boolean;
  revocations: boolean;
}

/** The compiled resources of one worker. */
export class Resources {
  readonly services = new Map<string, CompiledService>();
  readonly routes = new Map<string, CompiledRouteResource>();
  /** By Service, then by the endpoint's resource name. */
  readonly endpoints = new Map<string, Map<string, Endpoint>>();
  readonly authorizations = new Map<string, CompiledAuthorization>();
  /** Authorizations that could not even be decoded and have no last good: nobody may call until they are. */
  readonly unreadable = new Set<string>();
  /** Of own Services: the hosts under which they may be reached, normalized. */
  readonly hosts = new Map<string, ReadonlySet<string>>();
  readonly descriptors = new Map<string, MethodIndex>();
  readonly providers = new Map<string, CompiledProvider>();
  readonly models = new Map<string, CompiledModel>();
  readonly revocations = new Map<string, Revocation>();
  readonly telemetries = new Map<string, CompiledTelemetryResource>();
  private readonly serviceOfEndpoint = new Map<string, string>();

  /** Takes one resource, or says why not. Never throws. */
  upsert(resource: ResourceBytes, changes: Changes): ResourceError | null {
    const errors: CompileError[] = [];
    try {
      this.take(resource, errors, changes);
    } catch (error) {
      if (kindOf(resource.typeUrl) === 'Authorization' && !this.authorizations.has(resource.name))
        this.unreadable.add(resource.name);
      errors.push({ path: '', message: `cannot be decoded: ${(error as Error).message}` });
    }
    if (errors.length === 0) return null;
    const error = errors.map(({ path, message }) => (path === '' ? message : `${path}: ${message}`)).join('; ');
    return { typeUrl: resource.typeUrl, name: resource.name, error };
  }

  /** All of them, as connections are held against. */
  revoked(): Revoked {
    const all = [...this.revocations.values()].map(({ subject }) => subject);
    const of = (kind: 'serial' | 'spiffeId') => new Set(all.flatMap((one) => (one.case === kind ? [one.value] : [])));
    return { serials: of('serial'), spiffeIds: of('spiffeId') };
  }

  remove(typeUrl: string, name: string, changes: Changes): void {
    switch (kindOf(typeUrl)) {
      case 'Service':
        this.services.delete(name);
        changes.services.add(name);
        break;
      case 'Endpoint':
        this.removeEndpoint(name, changes);
        break;
      case 'Route':
        this.routes.delete(name);
        break;
      case 'Authorization':
        this.authorizations.delete(name);
        this.unreadable.delete(name);
        break;
      case 'ServiceHosts':
        this.hosts.delete(name);
        break;
      case 'DescriptorSet':
        this.descriptors.delete(name);
        break;
      case 'Provider':
        this.providers.delete(name);
        break;
      case 'Model':
        this.models.delete(name);
        break;
      case 'Revocation':
        this.revocations.delete(name);
        changes.revocations = true;
        break;
      case 'Telemetry':
        this.telemetries.delete(name);
        changes.telemetry = true;
        break;
    }
  }

  private take({ typeUrl, name, bytes }: ResourceBytes, errors: CompileError[], changes: Changes): void {
    const kind = kindOf(typeUrl);
    switch (kind) {
      case 'Service': {
        const service = compileService(fromBinary(ServiceSchema, bytes), errors);
        if (service === null) return;
        this.services.set(name, service);
        changes.services.add(name);
        return;
      }
      case 'Endpoint':
        this.setEndpoint(name, fromBinary(EndpointSchema, bytes), changes);
        return;
      case 'Route': {
        const { route, errors: wrong } = compileRoute(fromBinary(RouteSchema, bytes), linearRegex);
        errors.push(...wrong);
        if (route !== null) this.routes.set(name, route);
        return;
      }
      case 'Authorization': {
        // Always usable: what was not understood never allows and always denies.
        const { policy, errors: wrong } = compileAuthorization(fromBinary(AuthorizationSchema, bytes), linearRegex);
        errors.push(...wrong);
        this.authorizations.set(name, policy);
        this.unreadable.delete(name);
        return;
      }
      case 'ServiceHosts': {
        const hosts = compileHosts(fromBinary(ServiceHostsSchema, bytes), errors);
        if (hosts !== null) this.hosts.set(name, hosts);
        return;
      }
      case 'DescriptorSet': {
        const index = compileMethods(fromBinary(DescriptorSetSchema, bytes).fileDescriptorSet);
        if ('errors' in index) errors.push(...index.errors.map((message) => ({ path: '', message })));
        else this.descriptors.set(name, index);
        return;
      }
      case 'Provider': {
        const provider = compileProvider(fromBinary(ProviderSchema, bytes), errors);
        if (provider !== null) this.providers.set(name, provider);
        return;
      }
      case 'Model': {
        const model = compileModel(fromBinary(ModelSchema, bytes), errors);
        if (model !== null) this.models.set(name, model);
        return;
      }
      case 'Revocation': {
        const revocation = fromBinary(RevocationSchema, bytes);
        if (revocation.subject.case === undefined)
          errors.push({ path: 'subject', message: 'of a kind that this sidecar does not know: upgrade this sidecar' });
        else this.revocations.set(name, revocation);
        changes.revocations = true;
        return;
      }
      case 'Telemetry':
        this.telemetries.set(name, compileTelemetry(fromBinary(TelemetrySchema, bytes)));
        changes.telemetry = true;
        return;
      // The roots reach workers with the identity.
      case 'TrustBundle':
        return;
      default:
        errors.push({ path: '', message: `unknown type ${typeUrl}: upgrade this sidecar` });
    }
  }

  private setEndpoint(name: string, endpoint: Endpoint, changes: Changes): void {
    const old = this.serviceOfEndpoint.get(name);
    if (old !== undefined && old !== endpoint.service) this.removeEndpoint(name, changes);
    this.serviceOfEndpoint.set(name, endpoint.service);
    const known = this.endpoints.get(endpoint.service);
    if (known === undefined) this.endpoints.set(endpoint.service, new Map([[name, endpoint]]));
    else known.set(name, endpoint);
    changes.endpoints.add(endpoint.service);
  }

  private removeEndpoint(name: string, changes: Changes): void {
    const service = this.serviceOfEndpoint.get(name);
    if (service === undefined) return;
    this.serviceOfEndpoint.delete(name);
    const list = this.endpoints.get(service);
    list?.delete(name);
    if (list?.size === 0) this.endpoints.delete(service);
    changes.endpoints.add(service);
  }
}

function kindOf(typeUrl: string): string {
  return typeUrl.startsWith(PREFIX) ? typeUrl.slice(PREFIX.length) : typeUrl;
}
