// The repository's own rules that no linter knows: what may lie in the root, how a file opens, what is never left behind.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { repositoryFiles, root } from './files.mjs';

/** The root stays readable at one look; anything else belongs into a folder. */
const rootEntries = new Set(
  `package.json package-lock.json tsconfig.json buf.yaml README.md LICENSE .gitignore .npmrc
  proto sidecar control-plane deploy test bench .ci`.split(/\s+/),
);
/** Above this a file is two files. STYLE: aim at 120, look again at 400. */
const linesMax = 600;
/** main.ts only starts the program. */
const mainLinesMax = 100;

/** Text that is never committed: pattern, files, what to do. */
const banned = [
  [/\bTODO\b|\bFIXME\b|\bXXX\b/, /\.(ts|mjs|js|proto|ya?ml|md)$/, 'finish it, or write down who and why elsewhere'],
  [/biome-ignore|@ts-ignore|@ts-nocheck|@ts-expect-error|eslint-disable/, /\.(ts|mjs|js)$/, 'fix the cause'],
  [/\b(?:test|describe|it)\.only\(/, /\.test\.ts$/, 'an .only hides every other test'],
  [/\bsetTimeout\((?:resolve|r|done),|timers\/promises/, /^test\/unit\/.*\.test\.ts$/, 'no sleeps: inject a clock'],
  [/\/(?:work|home|Users)\/[a-z]/, /\.(ts|mjs|js|proto|ya?ml|json|md)$/, 'a path of one machine'],
  [
    /\.(?:filter|map|reduce|forEach)\(|Object\.entries\(|new (?:Headers|URL)\(/,
    /^sidecar\/proxy\/.*\.ts$|^sidecar\/filters\/.*\/run\.ts$/,
    'hot file: STYLE 16',
  ],
];
const unchecked = /^test\/tidy\//;

const problems = [];
for (const path of repositoryFiles()) {
  if (!rootEntries.has(path.split('/')[0])) problems.push(`${path}: not a place for a file; see the list in tidy.mjs`);
  if (/\.(ts|mjs|js|proto|ya?ml|json|md|sh)$/.test(path) || path === '.ci/run') checkText(path);
}
for (const problem of problems) console.log(problem);
process.exitCode = problems.length === 0 ? 0 : 1;

function checkText(path) {
  const text = readFileSync(join(root, path), 'utf8');
  const lines = text.split('\n');
  if (text !== '' && !text.endsWith('\n')) problems.push(`${path}: does not end with a newline`);
  if (/\.(ts|mjs|js)$/.test(path)) {
    const first = lines[0]?.startsWith('#!') ? lines[1] : lines[0];
    if (!/^(\/\/|\/\*)/.test(first ?? ''))
      problems.push(`${path}:1: open with a comment that says why the file exists`);
  }
  if (/\.(ts|mjs|js)$/.test(path)) {
    const max = /\/main\.ts$/.test(path) ? mainLinesMax : linesMax;
    if (lines.length > max) problems.push(`${path}: ${lines.length} lines, more than ${max}`);
  }
  if (unchecked.test(path) || path === 'package-lock.json') return;
  lines.forEach((line, index) => {
    for (const [pattern, files, advice] of banned) {
      if (files.test(path) && pattern.test(line)) {
        problems.push(`${path}:${index + 1}: ${pattern.exec(line)[0].trim()}: ${advice}`);
      }
    }
  });
}
