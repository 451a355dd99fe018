// The DNS names of a workload's certificate: what clients that know nothing of SPIFFE call its Services. They follow from
// the policies alone; what a certificate request asks for is never looked at.
import { certificateNames } from '../../proto/kit/host.ts';
import { of } from './check.ts';
import type { Resource } from './resource.ts';
import { serves } from './visible.ts';

/** For each Service that the account's identity serves. */
export function servedNames(resources: readonly Resource[], namespace: string, serviceAccount: string): string[] {
  const identity = { trustDomain: '', namespace, serviceAccount };
  const own = of(resources, 'Service').filter((service) => serves(service, identity));
  return certificateNames(own.map((service) => `${service.namespace}/${service.name}`));
}
