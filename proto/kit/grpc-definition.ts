// A generated service descriptor as the definition that grpc-js wants, for servers and clients alike: the one
// bridge between protobuf-es messages and the machine-facing gRPC library.

import { type DescMessage, type DescService, fromBinary, type Message, toBinary } from '@bufbuild/protobuf';
import type { MethodDefinition, ServiceDefinition } from '@grpc/grpc-js';

/** Path -> method, keyed by the method's local name (`deltaAggregatedResources`). */
export function grpcDefinition(service: DescService): ServiceDefinition {
  const methods: Record<string, MethodDefinition<Message, Message>> = {};
  for (const method of service.methods) {
    methods[method.localName] = {
      path: `/${service.typeName}/${method.name}`,
      requestStream: method.methodKind === 'client_streaming' || method.methodKind === 'bidi_streaming',
      responseStream: method.methodKind === 'server_streaming' || method.methodKind === 'bidi_streaming',
      requestSerialize: serializer(method.input),
      requestDeserialize: deserializer(method.input),
      responseSerialize: serializer(method.output),
      responseDeserialize: deserializer(method.output),
    };
  }
  return methods as unknown as ServiceDefinition;
}

function serializer(schema: DescMessage): (message: Message) => Buffer {
  return (message) => {
    const bytes = toBinary(schema, message);
    return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  };
}

function deserializer(schema: DescMessage): (bytes: Buffer) => Message {
  return (bytes) => fromBinary(schema, bytes);
}
