// Prints the end of `npm test`: a line for each failure, then the one that scripts and people read: `N passed, N failed`.
import type { Reporter, SerializedError, TestModule } from 'vitest/node';

/** Of a failure's message, what its line shows; the whole of it stands in the default reporter's output above. */
const SHOWN = 500;

/**
 * Counts tests at the end of a run. A file that fails to load, and an error outside any test, each count as one
 * failure, because otherwise a run could exit non-zero with `0 failed`. Skipped tests are named only when there are some.
 */
export default class ClosingLine implements Reporter {
  onTestRunEnd(modules: ReadonlyArray<TestModule>, unhandled: ReadonlyArray<SerializedError>): void {
    const failures = unhandled.map((error) => failure('outside any test', [error]));
    let passed = 0;
    let skipped = 0;
    for (const module of modules) {
      for (const test of module.children.allTests()) {
        const { state, errors } = test.result();
        if (state === 'passed') passed++;
        else if (state === 'failed') failures.push(failure(`${module.relativeModuleId} > ${test.fullName}`, errors));
        else skipped++;
      }
      for (const error of module.errors()) failures.push(failure(module.relativeModuleId, [error]));
      for (const suite of module.children.allSuites()) {
        for (const error of suite.errors()) {
          failures.push(failure(`${module.relativeModuleId} > ${suite.fullName}`, [error]));
        }
      }
    }
    const skips = skipped > 0 ? `, ${skipped} skipped` : '';
    const lines = [...failures, `${passed} passed, ${failures.length} failed${skips}`];
    // After the default reporter's own summary, which is printed in the same hook.
    process.once('exit', () => process.stdout.write(`${lines.join('\n')}\n`));
  }
}

/** One line, so that whoever has only the end of a log still learns what failed. */
function failure(where: string, errors: ReadonlyArray<{ readonly message: string }> | undefined): string {
  const message = (errors ?? []).map((error) => error.message).join('; ');
  return `failed: ${where}: ${message.replace(/\s+/g, ' ').slice(0, SHOWN)}`;
}
