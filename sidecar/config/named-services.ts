// Services that the command line names and the config does not know. A policy may bring them later, so the ports stay
// open and answer 404; but a mistyped name is said as soon as it can be known.

import { nearest } from '../../proto/kit/nearest.ts';

/** A Service as `--local` or `--app` names it. */
export interface NamedService {
  /** The option as it was given: `--local ordres`. */
  readonly option: string;
  /** Resource name, `namespace/name`. */
  readonly service: string;
  /** 0: none was named. */
  readonly port: number;
}

/** One sentence for each that is not there, or lacks the port. @param known ports by resource name. */
export function unknownServices(
  named: readonly NamedService[],
  known: ReadonlyMap<string, readonly number[]>,
): string[] {
  const sentences: string[] = [];
  for (const { option, service, port } of named) {
    const ports = known.get(service);
    if (ports === undefined) {
      sentences.push(`${option}: there is no Service ${service} for this identity; ${suggestion(service, known)}`);
    } else if (port !== 0 && !ports.includes(port)) {
      sentences.push(`${option}: Service ${service} has no port ${port}; it has ${ports.join(', ')}`);
    }
  }
  return sentences;
}

/** The nearest of the same namespace, then the same name in another one. */
function suggestion(service: string, known: ReadonlyMap<string, readonly number[]>): string {
  const [namespace, name = ''] = service.split('/');
  const beside = [...known.keys()]
    .filter((one) => one.startsWith(`${namespace}/`))
    .map((one) => one.split('/')[1] ?? '');
  const close = nearest(name, beside);
  if (close !== undefined) return `did you mean ${close}?`;
  const elsewhere = [...known.keys()].find((one) => one.endsWith(`/${name}`));
  if (elsewhere !== undefined) return `did you mean ${elsewhere}?`;
  return 'requests get 404 until a policy brings it and lets this identity call it: see `weft get services`';
}
