// What both sides of the grpc suite agree on.

export const SERVICE = 'bench.Echo';
/** Messages in each direction of a streaming call. */
export const MESSAGES = 10;

/** For ghz, which encodes by it. */
export const PROTO = `syntax = "proto3";
package bench;
message Text { string text = 1; }
service Echo {
  rpc Unary(Text) returns (Text);
  rpc Download(Text) returns (stream Text);
  rpc Chat(stream Text) returns (stream Text);
}
`;
