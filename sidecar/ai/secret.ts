// A provider's key. Kept so that it cannot reach a log line by accident: printing, inspecting or serializing a
// Secret gives a fixed text. A key in a file may be rotated while we run.

import { readFileSync, statSync } from 'node:fs';

/** How often a file's mtime is looked at, at most; a rotated key is in use after this time. 1 s: one stat per second costs nothing. */
const SECRET_CHECK_INTERVAL_MS = 1000;

const REDACTED = '[secret]';

/** A key from a file or an environment variable. */
export class Secret {
  readonly #load: () => { value: string | null; version: string };
  readonly #version: (() => string) | null;
  readonly #now: () => number;
  #current: { value: string | null; version: string } | null = null;
  #checkedMs = Number.NEGATIVE_INFINITY;

  private constructor(
    load: () => { value: string | null; version: string },
    version: (() => string) | null,
    now: () => number,
  ) {
    this.#load = load;
    this.#version = version;
    this.#now = now;
  }

  /** @param now a clock in ms, for tests; default the monotonic one. */
  static fromFile(path: string, now: () => number = performance.now.bind(performance)): Secret {
    const version = () => {
      const stat = statSync(path, { bigint: true });
      return `${stat.mtimeNs}:${stat.ino}:${stat.size}`;
    };
    const load = () => ({ version: version(), value: usable(readFileSync(path, 'utf8')) });
    return new Secret(load, version, now);
  }

  /** Read once, at the first use: a process's environment does not change from outside. */
  static fromEnvironment(name: string, environment: NodeJS.ProcessEnv = process.env): Secret {
    return new Secret(
      () => ({ version: '', value: usable(environment[name] ?? '') }),
      null,
      () => 0,
    );
  }

  /**
   * The key without surrounding whitespace, or null when there is none that can stand in a header (RFC 9110 §5.5).
   * A file that cannot be read for a moment keeps its last good key.
   */
  value(): string | null {
    const nowMs = this.#now();
    if (nowMs - this.#checkedMs < SECRET_CHECK_INTERVAL_MS) return this.#current?.value ?? null;
    this.#checkedMs = nowMs;
    try {
      if (this.#current !== null && (this.#version === null || this.#version() === this.#current.version)) {
        return this.#current.value;
      }
      const loaded = this.#load();
      if (loaded.value !== null || this.#current === null) this.#current = loaded;
    } catch {
      // Missing or unreadable now; the error would name nothing but the path, which the operator configured.
    }
    return this.#current?.value ?? null;
  }

  toString(): string {
    return REDACTED;
  }

  toJSON(): string {
    return REDACTED;
  }

  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return REDACTED;
  }
}

function usable(text: string): string | null {
  const trimmed = text.trim();
  return /^[\x21-\x7e]+$/.test(trimmed) ? trimmed : null;
}
