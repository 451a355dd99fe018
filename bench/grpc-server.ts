// The gRPC application of the grpc suite: unary, server-streaming and bidirectional echo of raw bytes over grpc-js.
// Started by the suite: `grpc-server.ts READY_FILE`.

import { type handleBidiStreamingCall, type handleServerStreamingCall, Server, ServerCredentials } from '@grpc/grpc-js';
import { writeReadyFile } from '../proto/kit/ready-file.ts';
import { MESSAGES, SERVICE } from './grpc-shape.ts';

const [readyFile = ''] = process.argv.slice(2);
const same = (bytes: Buffer): Buffer => bytes;
const codec = { requestSerialize: same, requestDeserialize: same, responseSerialize: same, responseDeserialize: same };
const method = (name: string, requestStream: boolean, responseStream: boolean) => ({
  path: `/${SERVICE}/${name}`,
  requestStream,
  responseStream,
  ...codec,
});

const download: handleServerStreamingCall<Buffer, Buffer> = (call) => {
  for (let i = 0; i < MESSAGES; i++) call.write(call.request);
  call.end();
};
const chat: handleBidiStreamingCall<Buffer, Buffer> = (call) => {
  call.on('data', (message: Buffer) => call.write(message));
  call.on('end', () => call.end());
};
const server = new Server();
server.addService(
  {
    unary: method('Unary', false, false),
    download: method('Download', false, true),
    chat: method('Chat', true, true),
  },
  {
    unary: (call: { request: Buffer }, done: (error: null, message: Buffer) => void) => done(null, call.request),
    download,
    chat,
  },
);
server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, port) => {
  if (error !== null) throw error;
  writeReadyFile(readyFile, { grpc: port });
});
