// The API's listener: Connect and gRPC-Web over HTTP/1.1 on loopback; with TLS of the mesh, and gRPC too, elsewhere.
// Nothing is answered without the admin token.

import { createHash, timingSafeEqual } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createSecureServer, type Http2ServerRequest, type Http2ServerResponse } from 'node:http2';
import { isIP, type Server, type Socket } from 'node:net';
import { connectNodeAdapter } from '@connectrpc/connect-node';
import { MeshService } from '../../proto/gen/weft/api/v1/api_pb.js';
import type { ServerIdentity } from '../identity/authority.ts';
import { type ApiParts, meshService } from './service.ts';

/** What the listener needs beside what its calls need. */
export interface ApiServerOptions extends ApiParts {
  readonly adminToken: string;
  readonly host: string;
  readonly identity: ServerIdentity;
}

/** A request body: names and a duration; nothing larger is known here. */
const REQUEST_BYTES_MAX = 64 * 1024;

/** The server, not listening yet, and its end. */
export interface ApiServer {
  readonly server: Server;
  /** Shows another certificate from the next handshake on; nothing on loopback, where there is none. */
  renew(identity: ServerIdentity): void;
  close(): void;
}

/** Builds the API's server. */
export function apiServer(options: ApiServerOptions): ApiServer {
  const handler = connectNodeAdapter({
    routes: (router) => router.service(MeshService, meshService(options)),
    readMaxBytes: REQUEST_BYTES_MAX,
  });
  const expected = digest(`Bearer ${options.adminToken}`);
  const serve = (
    request: IncomingMessage | Http2ServerRequest,
    response: ServerResponse | Http2ServerResponse,
  ): void => {
    // No browser makes a page of what the mesh says, whatever names are in it.
    response.setHeader('x-content-type-options', 'nosniff');
    if (!timingSafeEqual(digest(request.headers.authorization ?? ''), expected)) {
      const body = JSON.stringify({
        code: 'unauthenticated',
        message: 'the admin token is missing or wrong; it is in admin.token of the data directory, new at each start',
      });
      response.statusCode = 401;
      response.setHeader('content-type', 'application/json');
      response.setHeader('www-authenticate', 'Bearer');
      response.end(body);
      return;
    }
    handler(request as IncomingMessage, response as ServerResponse);
  };
  const sockets = new Set<Socket>();
  const secure = isLoopback(options.host)
    ? null
    : createSecureServer({ allowHTTP1: true, ...secureContext(options.identity) }, serve);
  const server: Server = secure ?? createServer(serve);
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  return {
    server,
    renew: (identity) => secure?.setSecureContext(secureContext(identity)),
    close(): void {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}

/** Whether only this machine reaches the address. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'));
}

function secureContext({ keyPem, chainPem }: ServerIdentity) {
  return { key: keyPem, cert: chainPem, minVersion: 'TLSv1.3' as const };
}

/** Equal lengths for the comparison in constant time. */
function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
