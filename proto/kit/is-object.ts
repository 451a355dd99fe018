// What TypeScript cannot say by typeof alone, needed wherever parsed JSON is looked into.

/** Whether a parsed JSON value is an object, neither null nor an array. */
export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
