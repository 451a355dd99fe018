// The HTTP/2 server against h2spec, the field's conformance suite, in strict mode.

import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import net from 'node:net';
import { delimiter, join } from 'node:path';
import { expect, test } from 'vitest';
import { serveHttp2 } from '../../sidecar/wire/http2/server.ts';
import { WireSocket } from '../../sidecar/wire/socket.ts';
import { Head } from '../../sidecar/wire/stream.ts';

function findH2spec(): string | null {
  const folders = (process.env['PATH'] ?? '').split(delimiter).map((folder) => join(folder, 'h2spec'));
  return [process.env['WEFT_H2SPEC'] ?? '', ...folders].find((path) => path !== '' && existsSync(path)) ?? null;
}

const program = findH2spec();

test.skipIf(program === null && process.env['CI'] === undefined)(
  'h2spec --strict passes (needs h2spec on PATH or WEFT_H2SPEC)',
  async () => {
    if (program === null) throw new Error('h2spec is not installed; put it on PATH or name it in WEFT_H2SPEC');
    const server = net.createServer({ allowHalfOpen: true }, (socket) => {
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
        { scheme: 'http', onGuard() {}, onClose() {} },
      );
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const port = (server.address() as AddressInfo).port;
    const output = await new Promise<string>((resolve) => {
      execFile(program, ['--strict', '-h', '127.0.0.1', '-p', String(port), '-o', '2'], (_, stdout) => resolve(stdout));
    });
    server.close();
    const failures = output.slice(output.indexOf('Failures:'));
    expect(output, failures).toMatch(/\n1\d\d tests, 1\d\d passed, \d+ skipped, 0 failed/);
  },
  300_000,
);
