// The HTTP/2 server against h2spec, the field's conformance suite, in strict mode, in the clear and behind TLS 1.3
// with a certificate of the mesh's own authority.

import { execFile } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import type { AddressInfo, Server, Socket } from 'node:net';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import tls from 'node:tls';
import { expect, test } from 'vitest';
import { openAuthority } from '../../control-plane/identity/authority.ts';
import { checkCsr } from '../../control-plane/identity/csr.ts';
import { createWorkloadKey } from '../../sidecar/identity/key.ts';
import { serveHttp2 } from '../../sidecar/wire/http2/server.ts';
import { WireSocket } from '../../sidecar/wire/socket.ts';
import { Head } from '../../sidecar/wire/stream.ts';
import { isSkipped, programPath } from './programs.ts';

function answerHello(socket: Socket, scheme: 'http' | 'https'): void {
  serveHttp2(
    new WireSocket(socket),
    (stream) => {
      const answer = (): void => {
        stream.writeHead(Head.response(200, ['content-length', '5']), false);
        stream.writeData(Buffer.from('hello'), true);
      };
      return {
        onHead: (_, end) => end && answer(),
        onData: (_, end) => end && answer(),
        onEnd: answer,
        onDrain() {},
        onReset() {},
      };
    },
    { scheme, onMalformed() {}, onGuard() {}, onClose() {} },
  );
}

async function secureServer(): Promise<Server> {
  const dataDir = mkdtempSync(join(tmpdir(), 'weft-h2spec-'));
  const authority = await openAuthority({ dataDir, trustDomain: 'mesh.local', now: Date.now });
  rmSync(dataDir, { recursive: true });
  const made = await createWorkloadKey();
  const checked = await checkCsr(made.csr);
  if (!checked.ok) throw new Error(checked.error);
  const issued = await authority.sign(checked.publicKey, 'shop', 'h2spec');
  const cert = issued.chain.map((der) => new X509Certificate(der).toString()).join('\n');
  const options = { key: made.privateKeyPem, cert, minVersion: 'TLSv1.3', ALPNProtocols: ['h2'] } as const;
  return tls.createServer({ ...options, allowHalfOpen: true }, (socket) => answerHello(socket, 'https'));
}

test.skipIf(isSkipped('h2spec')).each([
  ['in the clear', false],
  ['behind TLS 1.3', true],
])('h2spec --strict passes %s (needs h2spec)', { timeout: 300_000 }, async (name, secure) => {
  const program = programPath('h2spec');
  const server = secure
    ? await secureServer()
    : net.createServer({ allowHalfOpen: true }, (socket) => answerHello(socket, 'http'));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const port = String((server.address() as AddressInfo).port);
  const options = ['--strict', '-h', '127.0.0.1', '-p', port, '-o', '2'].concat(secure ? ['-t', '-k'] : []);
  const output = await new Promise<string>((resolve) => {
    execFile(program, options, (_error, stdout) => resolve(stdout));
  });
  server.close();
  const failures = output.slice(output.indexOf('Failures:'));
  expect(output, failures).toContain('\n146 tests, 146 passed, 0 skipped, 0 failed');
  console.log(`h2spec --strict ${name}: 146 of 146`);
});
