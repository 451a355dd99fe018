// Descriptors of a proto written in a test, compiled by buf as an operator's build would.

import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

/** The bytes of a FileDescriptorSet with its imports; the proto may import google/api/annotations.proto. */
export function buildDescriptors(proto: string): Uint8Array {
  const directory = mkdtempSync(join(tmpdir(), 'weft-descriptors-'));
  try {
    mkdirSync(join(directory, 'google/api'), { recursive: true });
    for (const name of ['annotations', 'http']) {
      cpSync(resolve(`node_modules/protobufjs/google/api/${name}.proto`), join(directory, `google/api/${name}.proto`));
    }
    writeFileSync(join(directory, 'shop.proto'), proto);
    return execFileSync(resolve('node_modules/.bin/buf'), ['build', directory, '-o', '-#format=binpb']);
  } finally {
    rmSync(directory, { recursive: true });
  }
}
