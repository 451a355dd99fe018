// @peculiar/x509 resolves its parts with tsyringe, which refuses to load without the three Reflect metadata functions.
// This is that minimum; import it before the library. A full polyfill that came first is left alone.

type Key = string | symbol;

const table = new WeakMap<object, Map<Key, unknown>>();

function getOwnMetadata(key: Key, target: object): unknown {
  return table.get(target)?.get(key);
}

function getMetadata(key: Key, target: object): unknown {
  for (let at: object | null = target; at !== null; at = Object.getPrototypeOf(at) as object | null) {
    const value = getOwnMetadata(key, at);
    if (value !== undefined) return value;
  }
  return undefined;
}

function defineMetadata(key: Key, value: unknown, target: object): void {
  const entries = table.get(target) ?? new Map<Key, unknown>();
  table.set(target, entries.set(key, value));
}

if (!('getMetadata' in Reflect)) Object.assign(Reflect, { getOwnMetadata, getMetadata, defineMetadata });
