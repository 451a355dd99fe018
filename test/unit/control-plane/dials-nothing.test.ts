// CVE class 14: a server that can be made to dial is a way into the network behind it. The control plane has no reason to
// dial anybody: addresses that workloads register are told to sidecars, which know by certificate whom they reached.

import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { filesBelow } from '../../support/files-below.ts';

/** What begins a connection or looks a name up without an import. */
const GLOBALS = /(?<![.\w])(?:fetch|WebSocket|EventSource)\(/;
/** Modules that can, and what of them cannot. */
const MODULES =
  /^import (?!type)\{([^}]*)\} from '(?:node:(?:net|tls|https?|http2|dns|dns\/promises|dgram)|undici|@grpc\/grpc-js|@connectrpc\/[\w-]+)'/gm;
const HARMLESS =
  /^(?:type \w+|createServer|createSecureServer|isIP|Server|ServerCredentials|Metadata|status|logVerbosity|setLogVerbosity|connectNodeAdapter|Code|ConnectError)$/;
/** The lock of the data directory: a socket of this machine, whose name is made of the directory's. */
const LOCAL = 'proto/kit/directory-lock.ts';

test('CVE class 14: no file of the control plane dials or resolves what a client could name', () => {
  const files = [...filesBelow('control-plane', /\.ts$/), ...filesBelow('proto/kit', /\.ts$/)];
  expect(files.length).toBeGreaterThan(40);
  const able = files.flatMap((file) => {
    const text = code(file);
    const imported = [...text.matchAll(MODULES)].flatMap(([, names = '']) =>
      names.split(',').map((name) => name.trim()),
    );
    const dialling = imported.filter((name) => name !== '' && !HARMLESS.test(name));
    return GLOBALS.test(text) || /import\(|require\(/.test(text)
      ? [`${file}: global`]
      : dialling.map((name) => `${file}: ${name}`);
  });
  expect(able).toEqual([`${LOCAL}: connect`]);
  expect(code(LOCAL).match(/\bconnect\([^)]*\)/g)).toEqual(['connect(path)']);
});

/** A file without its comments, in which words like "connect (again)" stand. */
function code(file: string): string {
  return readFileSync(file, 'utf8').replace(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, '');
}
