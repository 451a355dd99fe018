// Checks which way imports point: the two programs never meet, layers look down only, heavy packages stay off the
// data path, and no folders import in a circle (files of one folder are one part and may know each other).
import { readFileSync } from 'node:fs';
import { join, posix } from 'node:path';
import { repositoryFiles, root } from './files.mjs';

/** From (a path prefix): the only prefixes of our own it may import. The longest matching row decides. */
const mayImport = [
  ['proto/gen/', ['proto/gen/']],
  ['proto/kit/', ['proto/']],
  ['sidecar/base/', ['sidecar/base/', 'proto/kit/']],
  ['sidecar/wire/', ['sidecar/wire/', 'sidecar/base/']],
  ['sidecar/', ['sidecar/', 'proto/']],
  ['control-plane/base/', ['control-plane/base/', 'proto/kit/']],
  ['control-plane/', ['control-plane/', 'proto/']],
  ['deploy/setup/', ['deploy/setup/']],
  ['deploy/build/', ['deploy/build/']],
  // package.json: `weft --version`.
  ['deploy/', ['deploy/', 'sidecar/', 'control-plane/', 'proto/', 'package.json']],
  ['test/', ['test/', 'deploy/', 'sidecar/', 'control-plane/', 'proto/', 'bench/']],
  ['bench/', ['bench/', 'deploy/', 'sidecar/', 'control-plane/', 'proto/', 'test/support/']],
];

/** The entry files: nothing in the programs imports them, so that a part never depends on the whole. */
const entries = [/^(sidecar|control-plane)\/(main|app)\.ts$/];
const entryUsers = [/^(sidecar|control-plane)\/(main|app|worker)\.ts$/, /^(deploy|test|bench)\//];

/** Where every byte of a request passes. */
const dataPath = ['wire', 'listen', 'proxy', 'filters', 'upstream', 'transcode', 'ai'];

/** From: packages that must not be reachable by a static import, with the reason printed. */
const forbiddenPackages = [
  ['sidecar/', /^(@bufbuild\/protovalidate|@connectrpc\/|commander)/, 'the sidecar never loads it (memory)'],
  ['sidecar/', /^node:https?$/, 'it compiles an HTTP client (memory): process.getBuiltinModule gives it without'],
  ['sidecar/wire/', /^(?!node:)/, 'the wire knows Node and nothing else'],
  ['sidecar/proxy/', /^(@grpc\/|prom-client|undici|jose|@peculiar\/|pino)/, 'workers never load it'],
  ...dataPath.map((folder) => [`sidecar/${folder}/`, /^(node:)?http(s|2)?$/, 'the data path has codecs of its own']),
];

/** Static, dynamic and re-exporting forms; `type` imports are erased, so they cost nothing but still show a direction. */
const importPattern =
  /^(?:import|export)\s(type\s)?(?:[^'"`;]*?\sfrom\s)?['"]([^'"]+)['"]|\bimport\(\s*['"]([^'"]+)['"]/gm;

const problems = [];
const graph = new Map();
const sources = repositoryFiles().filter((path) => /\.(ts|mjs|js)$/.test(path));
for (const file of sources) graph.set(file, scan(file));
for (const cycle of cycles(graph).filter(spansFolders))
  problems.push(`${cycle[0]}: imports in a circle: ${cycle.join(' → ')}`);
for (const problem of problems) console.log(problem);
process.exitCode = problems.length === 0 ? 0 : 1;

/** Reports the bad imports of one file; returns its run-time imports of our own files. */
function scan(file) {
  const text = readFileSync(join(root, file), 'utf8');
  const runtime = [];
  for (const match of text.matchAll(importPattern)) {
    const [, type, fixed, dynamic] = match;
    const specifier = fixed ?? dynamic;
    const at = `${file}:${text.slice(0, match.index).split('\n').length}`;
    if (specifier.startsWith('.')) {
      const target = posix.join(posix.dirname(file), specifier);
      checkDirection(at, file, target);
      if (type === undefined && dynamic === undefined) runtime.push(target);
    } else if (type === undefined) checkPackage(at, file, specifier, dynamic !== undefined);
  }
  return runtime;
}

function checkDirection(at, file, target) {
  const rows = mayImport.filter(([prefix]) => file.startsWith(prefix));
  const row = rows.sort((a, b) => b[0].length - a[0].length)[0];
  if (row !== undefined && !row[1].some((prefix) => target.startsWith(prefix))) {
    problems.push(`${at}: ${row[0]} may import only ${row[1].join(', ')}, not ${target}`);
  }
  if (entries.some((entry) => entry.test(target)) && !entryUsers.some((user) => user.test(file))) {
    problems.push(`${at}: ${target} is an entry; parts do not import it`);
  }
}

function checkPackage(at, file, specifier, dynamic) {
  for (const [prefix, packages, reason] of forbiddenPackages) {
    if (!dynamic && file.startsWith(prefix) && packages.test(specifier)) {
      problems.push(`${at}: ${prefix} must not import ${specifier}: ${reason}`);
    }
  }
}

function spansFolders(cycle) {
  return new Set(cycle.map((file) => posix.dirname(file))).size > 1;
}

/** Each circle once, found by walking the import graph depth first. */
function cycles(edges) {
  const found = [];
  const state = new Map();
  const path = [];
  const visit = (file) => {
    state.set(file, 'open');
    path.push(file);
    for (const next of edges.get(file) ?? []) {
      if (state.get(next) === 'open') found.push([...path.slice(path.indexOf(next)), next]);
      else if (!state.has(next) && edges.has(next)) visit(next);
    }
    path.pop();
    state.set(file, 'done');
  };
  for (const file of edges.keys()) if (!state.has(file)) visit(file);
  return found;
}
