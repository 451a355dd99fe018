// The applications behind the proxies: C programs that cost less than any proxy, so that the proxy is what is measured.
// HTTP/1.1 is nginx. HTTP/2 is nghttpd, the only small server found that can answer with trailers (`grpc-status`).

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { accepting, findProgram, freePorts, LOAD_CORES, type Started, start } from './processes.ts';

/** The gRPC message both ways: a 5-byte frame head and 16 bytes, the size of a small unary call. */
const GRPC_FRAME = Buffer.concat([Buffer.from([0, 0, 0, 0, 16]), Buffer.alloc(16, 'weft')]);
/** nghttpd takes the content type from the file's name. */
export const GRPC_PATH = '/bench.Echo/Unary.grpc';
/** Over HTTP/1.1: a response of 1 MiB. Every other path is answered with a short text at once. */
export const MIB_PATH = '/mib';
export const MIB_BYTES = 1_048_576;
/** Over HTTP/1.1: answered when the whole request has been read, so that no proxy deals with an early response. */
export const READ_PATH = '/read';

/** Two instances for each protocol, and the request body of the gRPC-shaped load. */
export interface Backends {
  readonly h1: readonly number[];
  readonly h2: readonly number[];
  readonly grpcBody: string;
  stop(): Promise<void>;
}

export async function startBackends(folder: string): Promise<Backends> {
  const [a = 0, b = 0, c = 0, d = 0, inner = 0] = await freePorts(5);
  const grpcBody = join(folder, 'request.bin');
  writeFileSync(grpcBody, GRPC_FRAME);
  const programs = [startNginx(folder, [a, b], inner), startNghttpd(folder, c), startNghttpd(folder, d)];
  const ports = [a, c, d];
  await Promise.all(programs.map((program, i) => accepting(program, ports[i] ?? 0)));
  return {
    h1: [a, b],
    h2: [c, d],
    grpcBody,
    async stop() {
      await Promise.all(programs.map((program) => program.stop()));
    },
  };
}

/** nginx reads a request whole only to pass it on: READ_PATH goes, without the body, to its own port `inner`. */
function startNginx(folder: string, ports: readonly number[], inner: number): Started {
  const path = need('nginx', 'nginx');
  const config = join(folder, 'backend-nginx.conf');
  const listen = ports.map((port) => `listen 127.0.0.1:${port};`).join(' ');
  const documents = join(folder, 'files');
  mkdirSync(documents, { recursive: true });
  writeFileSync(join(documents, MIB_PATH), Buffer.alloc(MIB_BYTES, 'weft'));
  writeFileSync(
    config,
    `user root; worker_processes 1; daemon off; error_log stderr warn; pid ${folder}/backend-nginx.pid;
events { worker_connections 4096; }
http { access_log off; keepalive_requests 1000000000; keepalive_timeout 1h; default_type text/plain;
  client_body_temp_path ${folder}; proxy_temp_path ${folder}; fastcgi_temp_path ${folder}; uwsgi_temp_path ${folder};
  scgi_temp_path ${folder};
  client_max_body_size 0; client_body_buffer_size 2m; sendfile on; root ${documents};
  upstream inner { server 127.0.0.1:${inner}; keepalive 64; }
  server { listen 127.0.0.1:${inner}; location / { return 200 "read\\n"; } }
  server { ${listen}
    location / { return 200 "hello from the backend\\n"; }
    location = ${MIB_PATH} { }
    location = ${READ_PATH} { proxy_pass http://inner; proxy_http_version 1.1; proxy_set_header connection "";
      proxy_pass_request_body off; proxy_set_header content-length ""; } } }
`,
  );
  return start('backend nginx', LOAD_CORES, [path, '-e', 'stderr', '-p', folder, '-c', config]);
}

function startNghttpd(folder: string, port: number): Started {
  const documents = join(folder, 'documents');
  mkdirSync(join(documents, 'bench.Echo'), { recursive: true });
  writeFileSync(join(documents, GRPC_PATH), GRPC_FRAME);
  const types = join(folder, 'mime.types');
  writeFileSync(types, 'application/grpc grpc\n');
  return start('backend nghttpd', LOAD_CORES, [
    need('nghttpd', 'nghttp2-server'),
    '--no-tls',
    '--address=127.0.0.1',
    `--htdocs=${documents}`,
    `--mime-types-file=${types}`,
    '--trailer=grpc-status: 0',
    '--no-content-length',
    String(port),
  ]);
}

function need(name: string, debianPackage: string): string {
  const path = findProgram(name);
  if (path === null) {
    throw new Error(`${name} is not installed; run apt-get install ${debianPackage}, or npm run bench -- install`);
  }
  return path;
}
