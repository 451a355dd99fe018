// Paths of fields as problems show them: `spec.rules[0].filters[1].requestHeaders.set["x-a"]`.

/** `base.key`, or `base["key"]` where the key is no plain word. */
export function joinPath(base: string, key: string | number): string {
  if (typeof key === 'number') return `${base}[${key}]`;
  if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(key)) return `${base}[${JSON.stringify(key)}]`;
  return base === '' ? key : `${base}.${key}`;
}
