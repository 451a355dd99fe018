// Prints the closing line of `npm test`, the one that scripts and people read: `N passed, N failed`.
import type { Reporter, SerializedError, TestModule } from 'vitest/node';

/**
 * Counts tests at the end of a run. A file that fails to load, and an error outside any test, each count as one
 * failure, because otherwise a run could exit non-zero with `0 failed`. Skipped tests are named only when there are some.
 */
export default class ClosingLine implements Reporter {
  onTestRunEnd(modules: ReadonlyArray<TestModule>, unhandled: ReadonlyArray<SerializedError>): void {
    let passed = 0;
    let failed = unhandled.length;
    let skipped = 0;
    for (const module of modules) {
      for (const test of module.children.allTests()) {
        const state = test.result().state;
        if (state === 'passed') passed++;
        else if (state === 'failed') failed++;
        else skipped++;
      }
      failed += module.errors().length;
      for (const suite of module.children.allSuites()) failed += suite.errors().length;
    }
    const line = `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`;
    // After the default reporter's own summary, which is printed in the same hook.
    process.once('exit', () => process.stdout.write(`${line}\n`));
  }
}
