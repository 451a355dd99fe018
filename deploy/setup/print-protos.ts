// Writes the .proto files that exist only as descriptors inside a package: buf/validate/validate.proto.
// Run by prepare.mjs with the locked Node; the only argument is the folder to write to.
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { DescFile } from '@bufbuild/protobuf';
import { printFile } from './print-descriptor.ts';

const out = process.argv[2];
if (out === undefined) {
  console.error('usage: node deploy/setup/print-protos.ts FOLDER');
  process.exit(64);
}
// The package does not export its generated code, so it is found beside the entry point that it does export.
const entry = import.meta.resolve('@bufbuild/protovalidate');
const generated: { file_buf_validate_validate: DescFile } = await import(
  new URL('./gen/buf/validate/validate_pb.js', entry).href
);
const path = join(out, 'buf/validate/validate.proto');
mkdirSync(dirname(path), { recursive: true });
writeFileSync(path, printFile(generated.file_buf_validate_validate));
