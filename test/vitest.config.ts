// How `npm test` finds and runs the tests: every kind of test is a folder; benches and support are not tests.
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

export default defineConfig({
  root: fileURLToPath(new URL('..', import.meta.url)),
  test: {
    include: ['test/{unit,contract,integration,conformance,fuzz}/**/*.test.ts'],
    reporters: ['default', fileURLToPath(new URL('./support/reporter.ts', import.meta.url))],
    // A process per file: real sockets, environment variables and worker threads of one file never meet another's.
    pool: 'forks',
    passWithNoTests: false,
    // Several times the slowest integration test on a machine with two busy cores.
    testTimeout: 30_000,
    hookTimeout: 30_000,
    teardownTimeout: 5_000,
  },
});
