// Makes a clone ready to run: installs the locked dependencies and generates code from the protos, each only when its
// input changed. Runs before anything is installed, so it is plain JavaScript for Node 20 with no dependencies.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '../..');
const bin = join(root, 'node_modules/.bin');
const printed = 'node_modules/.cache/weft-protos';
const installStamp = join(root, 'node_modules/.weft-stamp');
const generateStamp = join(root, 'proto/gen/.weft-stamp');
const demoProtos = 'deploy/demo/proto/weft';
/** What the demo's policies give to the transcoder. A policy names only files beside it. */
const demoDescriptors = 'deploy/demo/policies/demo.binpb';
/** From xDS only what the discovery service needs; the rest of its packages would be 1,000 files. */
const generated = [
  'proto/weft',
  demoProtos,
  `${printed}/buf/validate/validate.proto`,
  'node_modules/@grpc/grpc-js-xds/deps/envoy-api/envoy/service/discovery/v3/ads.proto',
  'node_modules/@grpc/grpc-js-xds/deps/envoy-api/envoy/service/discovery/v3/discovery.proto',
  'node_modules/@grpc/grpc-js-xds/deps/googleapis/google/api/annotations.proto',
  'node_modules/@grpc/grpc-js-xds/deps/googleapis/google/api/httpbody.proto',
  'node_modules/@grpc/grpc-js-xds/deps/googleapis/google/rpc/status.proto',
  'node_modules/@grpc/grpc-js-xds/deps/googleapis/google/rpc/error_details.proto',
];

install();
generate(process.argv.includes('--force'));

/**
 * Installs what the lock file says when node_modules is missing or was made from another lock file. `npm ci` is too
 * strict: it refuses a lock file that lacks a binary for some other platform, which happens when the registry that
 * made the lock file does not carry it. `npm install` takes the locked versions too, as long as package.json agrees.
 */
function install() {
  const hash = hashOf([join(root, 'package-lock.json')]);
  if (read(installStamp) === hash) return;
  checkLock();
  step('installing the locked dependencies');
  // The npm that runs this script, with its own Node, else the one on the PATH: never the Node that may be replaced.
  const { npm_execpath: npmPath, npm_node_execpath: nodePath } = process.env;
  const fromNpm = npmPath?.endsWith('.js') && nodePath !== undefined && !nodePath.startsWith(root);
  const npm = fromNpm ? [nodePath, npmPath] : ['npm'];
  // Development dependencies are needed whatever NODE_ENV says.
  const flags = ['--no-save', '--ignore-scripts', '--include=dev', '--include=optional', '--loglevel=error'];
  run([...npm, 'install', ...flags], npmEnv());
  writeFileSync(installStamp, hash);
}

/** The part of `npm ci` that matters: every direct dependency is locked at what package.json asks for. */
function checkLock() {
  const wanted = JSON.parse(read(join(root, 'package.json')));
  const locked = JSON.parse(read(join(root, 'package-lock.json'))).packages[''];
  for (const kind of ['dependencies', 'devDependencies', 'optionalDependencies']) {
    for (const [name, version] of Object.entries(wanted[kind] ?? {})) {
      if (locked[kind]?.[name] === version) continue;
      console.error(`weft: package-lock.json does not lock ${name} ${version}: run npm install with the locked Node`);
      process.exit(65);
    }
  }
}

/** Code from protos when a proto, a generator setting or an installed package changed. */
function generate(force) {
  const protos = ['proto/weft', demoProtos].flatMap((folder) => filesUnder(join(root, folder), '.proto'));
  const settings = ['proto/buf.gen.yaml', 'buf.yaml', 'package-lock.json', ...ownFiles()].map((path) =>
    join(root, path),
  );
  const hash = hashOf([...protos, ...settings]);
  if (
    !force &&
    read(generateStamp) === hash &&
    [printed, demoDescriptors].every((path) => existsSync(join(root, path)))
  )
    return;
  step(`generating code from ${protos.length} protos`);
  rmSync(generateStamp, { force: true });
  mkdirSync(join(root, printed), { recursive: true });
  const env = { ...process.env, PATH: bin + delimiter + process.env.PATH };
  run([join(bin, 'node'), 'deploy/setup/print-protos.ts', printed], env);
  const paths = generated.flatMap((path) => ['--path', path]);
  run([join(bin, 'buf'), 'generate', '--template', 'proto/buf.gen.yaml', ...paths], env);
  const scorer = ['--path', `${demoProtos}/demo/v1/scorer.proto`];
  run(
    [join(bin, 'buf'), 'build', '--as-file-descriptor-set', '--exclude-source-info', ...scorer, '-o', demoDescriptors],
    env,
  );
  writeFileSync(generateStamp, hash);
}

function ownFiles() {
  return ['prepare.mjs', 'print-protos.ts', 'print-descriptor.ts'].map((name) => `deploy/setup/${name}`);
}

/** Settings that npm passes to scripts are for the outer command: `npm test --omit=dev` must not change what is installed. */
function npmEnv() {
  const keep =
    /^npm_config_(registry|cache|userconfig|globalconfig|prefix|proxy|https_proxy|noproxy|cafile|ca|strict_ssl)$/i;
  const entries = Object.entries(process.env).filter(([name]) => !/^npm_/i.test(name) || keep.test(name));
  const path = (process.env.PATH ?? '').split(delimiter).filter((folder) => !folder.startsWith(bin));
  return { ...Object.fromEntries(entries), NODE_ENV: 'development', PATH: path.join(delimiter) };
}

function run([command, ...args], env) {
  const result = spawnSync(command, args, { cwd: root, env, stdio: ['ignore', 'ignore', 'inherit'] });
  if (result.status === 0) return;
  const reason = result.error?.message ?? `exit ${result.status ?? result.signal}`;
  console.error(`weft: ${[command, ...args.slice(0, 2)].join(' ')} failed: ${reason}`);
  process.exit(69);
}

function step(text) {
  console.log(`weft: ${text}`);
}

function read(path) {
  return existsSync(path) ? readFileSync(path, 'utf8') : '';
}

function filesUnder(folder, suffix) {
  if (!existsSync(folder)) return [];
  const entries = readdirSync(folder, { withFileTypes: true, recursive: true });
  const files = entries.filter((entry) => entry.isFile() && entry.name.endsWith(suffix));
  // `path` is the name of the field in Node 20.0 to 20.11.
  return files.map((entry) => join(entry.parentPath ?? entry.path, entry.name)).sort();
}

function hashOf(paths) {
  const hash = createHash('sha256');
  for (const path of paths) hash.update(path.slice(root.length)).update('\0').update(readFileSync(path)).update('\0');
  return hash.digest('hex');
}
