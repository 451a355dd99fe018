// The descriptor printer is right when its text compiles back to the descriptor it came from; buf is the judge.
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { DescFile } from '@bufbuild/protobuf';
import { createFileRegistry, createRegistry, fromBinary, toJson } from '@bufbuild/protobuf';
import { FileDescriptorProtoSchema, FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt';
import { describe, expect, test } from 'vitest';
import { printFile } from '../../../deploy/setup/print-descriptor.ts';

const entry = import.meta.resolve('@bufbuild/protovalidate');
const validate: { file_buf_validate_validate: DescFile } = await import(
  new URL('./gen/buf/validate/validate_pb.js', entry).href
);

/** Compiles one file with buf and returns its descriptor. */
function compile(path: string, text: string): DescFile {
  const folder = mkdtempSync(join(tmpdir(), 'weft-print-'));
  try {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), text);
    const buf = join(import.meta.dirname, '../../../node_modules/.bin/buf');
    const args = ['build', folder, '--exclude-source-info', '--as-file-descriptor-set', '-o', '-#format=bin'];
    const file = createFileRegistry(fromBinary(FileDescriptorSetSchema, execFileSync(buf, args))).getFile(path);
    if (file === undefined) throw new Error(`buf compiled no ${path}`);
    return file;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** A descriptor as JSON; custom options show by name when `file` declares them. */
function json(file: DescFile): unknown {
  return toJson(FileDescriptorProtoSchema, file.proto, { registry: createRegistry(file) });
}

const everything = {
  proto2: `syntax = "proto2";
package t;
message A {
  extensions 100 to 199;
  extensions 1000 to max;
  reserved 7, 20 to 30;
  reserved "old", "older";
  required string name = 1 [default = "a\\"b\\\\c\\n\\001"];
  optional double ratio = 2 [default = inf];
  repeated int32 ids = 3 [packed = true, deprecated = true];
  optional Color color = 4 [default = RED];
  optional bytes blob = 5 [default = "\\000\\377"];
}
enum Color { option allow_alias = true; reserved 9 to max; RED = 0; ROUGE = 0 [deprecated = true]; BACK = -1; }
extend A { optional A more = 100; repeated string words = 101; }
`,
  proto3: `syntax = "proto3";
package t;
import "google/protobuf/descriptor.proto";
import "google/protobuf/duration.proto";
option java_package = "a.b";
option optimize_for = SPEED;
extend google.protobuf.FieldOptions { Hint hint = 50001; repeated string tags = 50002; Level level = 50003; }
extend google.protobuf.MethodOptions { Hint rule = 50001; }
message Hint { string text = 1; repeated int64 numbers = 2; map<string, Level> levels = 3; Hint inner = 4; }
enum Level { LEVEL_UNSPECIFIED = 0; LEVEL_HIGH = 1; }
message B {
  message Inner { enum Kind { KIND_UNSPECIFIED = 0; } Kind kind = 1; }
  string a_name = 1 [json_name = "other", (hint) = { text: "say \\"hi\\"" numbers: 1 numbers: -2 inner { text: "x" } }];
  optional uint32 maybe = 2 [(tags) = "one", (tags) = "two", (level) = LEVEL_HIGH];
  oneof choice { Inner inner = 3; bool flag = 4; }
  map<int32, google.protobuf.Duration> times = 5;
}
service S {
  rpc Unary(B) returns (B);
  rpc Both(stream B) returns (stream B) { option idempotency_level = NO_SIDE_EFFECTS; option (rule) = { text: "r" }; }
}
`,
  editions: `edition = "2023";
package t;
option features.field_presence = IMPLICIT;
message C { reserved gone; string a = 1 [features.field_presence = EXPLICIT]; repeated int32 b = 2; }
`,
};

describe('printFile', () => {
  test.each(Object.entries(everything))('%s survives print and compile', (name, text) => {
    const original = compile(`t/${name}.proto`, text);
    expect(json(compile(`t/${name}.proto`, printFile(original)))).toEqual(json(original));
  });

  test('validate.proto keeps every message, field, rule and extension', () => {
    const original = validate.file_buf_validate_validate;
    const printed = compile('buf/validate/validate.proto', printFile(original));
    // The package strips json_name and other defaults that a compiler writes, so both sides go through it once more.
    const again = compile('buf/validate/validate.proto', printFile(printed));
    expect(json(again)).toEqual(json(printed));
    const names = (file: DescFile) => file.messages.flatMap((m) => m.fields.map((field) => `${field} ${field.number}`));
    expect(names(printed)).toEqual(names(original));
    expect(names(printed).length).toBeGreaterThan(200);
    const options = (file: DescFile) =>
      file.messages.flatMap((m) => m.fields.map((f) => f.proto.options?.$unknown?.map((u) => u.data.length)));
    expect(options(printed)).toEqual(options(original));
  });
});
