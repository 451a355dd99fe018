// A gRPC server on the port that the environment names, for those of the demo's applications that speak gRPC.

import type { DescService } from '@bufbuild/protobuf';
import { Server, ServerCredentials, type UntypedServiceImplementation } from '@grpc/grpc-js';
import { grpcDefinition } from '../../../proto/kit/grpc-definition.ts';
import { announce, endOnSignal } from './serve.ts';

/** Serves on PORT of loopback and says so; ends on a signal once the calls under way have. Exit 69: the port is taken. */
export function serveGrpc(name: string, service: DescService, methods: UntypedServiceImplementation): void {
  const server = new Server();
  server.addService(grpcDefinition(service), methods);
  const address = `127.0.0.1:${process.env['PORT'] ?? 0}`;
  server.bindAsync(address, ServerCredentials.createInsecure(), (error, port) => {
    if (error !== null) {
      console.error(`${address}: ${error.message}`);
      process.exit(69);
    }
    announce(name, port);
  });
  endOnSignal(() => server.tryShutdown(() => process.exit(0)));
}
