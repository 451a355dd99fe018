// nginx as a peer: one worker, keep-alive pools, a request id, host routing, one retry. Between two hops it speaks
// HTTP/1.1 (gRPC: HTTP/2, one stream a connection), which is what it can do, and it verifies chains, not SPIFFE ids.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { accepting, findProgram, freePorts, type Started, versionOf } from '../processes.ts';
import { HOST, type Launched, type Peer, type Site, SNI, startProxy } from './peer.ts';

export const nginx: Peer = {
  name: 'nginx',
  version() {
    const path = findProgram('nginx');
    return path === null ? null : versionOf(path, '-v');
  },
  async launch(site) {
    const [outer = 0, inner = 0] = await freePorts(2);
    const { roots, client, server } = site.identities;
    const h2 = site.scenario.protocol === 'h2';
    const own = `ssl_certificate ${server.certificate}; ssl_certificate_key ${server.key}; ssl_protocols TLSv1.3;
        ssl_session_tickets off; ssl_session_cache off;`;
    const callers = ` ssl_client_certificate ${roots}; ssl_verify_client on;`;
    const pass = h2 ? 'grpc_pass grpc://app;' : 'proxy_pass http://app;';
    const listen = (port: number, ssl: boolean): string =>
      `listen 127.0.0.1:${port}${ssl ? ' ssl' : ''}${h2 ? ' http2' : ''};`;
    if (site.scenario.hops === 1) {
      const { front } = site.scenario;
      const tls = front === 'clear' ? '' : ` ${own}${front === 'mutual' ? callers : ''}`;
      const text = config(site, 0, `${listen(outer, front !== 'clear')}${tls}`, site.backends, pass);
      return launch(site, [[text, outer]]);
    }
    const word = h2 ? 'grpc' : 'proxy';
    const secure = `${word}_pass ${h2 ? 'grpcs' : 'https'}://app; ${word}_ssl_certificate ${client.certificate};
        ${word}_ssl_certificate_key ${client.key}; ${word}_ssl_trusted_certificate ${roots};
        ${word}_ssl_server_name on; ${word}_ssl_name ${SNI}; ${word}_ssl_protocols TLSv1.3;`;
    const mutual = `${listen(inner, true)} ${own}${callers}`;
    return launch(site, [
      [config(site, 0, listen(outer, false), [inner], secure), outer],
      [config(site, 1, mutual, site.backends, pass), inner],
    ]);
  },
};

async function launch(site: Site, configs: readonly (readonly [string, number])[]): Promise<Launched> {
  const programs: Started[] = [];
  for (const [index, [text, port]] of configs.entries()) {
    const path = join(site.folder, `nginx-${index}.conf`);
    writeFileSync(path, text);
    const command = [findProgram('nginx') ?? 'nginx', '-e', 'stderr', '-p', site.folder, '-c', path];
    const program = startProxy('nginx', command);
    programs.push(program);
    await accepting(program, port);
  }
  return { port: configs[0]?.[1] ?? 0, programs, config: configs.map(([text]) => text).join('\n') };
}

function config(site: Site, index: number, server: string, upstreams: readonly number[], pass: string): string {
  const { folder, scenario } = site;
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
    .map((name) => `${name}_temp_path ${folder};`)
    .join(' ');
  const headers =
    scenario.protocol === 'h2'
      ? 'grpc_set_header x-request-id $request_id; grpc_set_header host $host;'
      : `proxy_http_version 1.1; proxy_set_header connection ""; proxy_set_header x-request-id $request_id;
        proxy_set_header host $host;`;
  return `user root; worker_processes 1; daemon off; error_log stderr warn; pid ${folder}/nginx-${index}.pid;
events { worker_connections 4096; }
http {
  access_log off; ${temporary}
  client_max_body_size 0; proxy_request_buffering off; proxy_max_temp_file_size 0;
  keepalive_requests 1000000000; keepalive_timeout 1h;
  upstream app { least_conn; ${upstreams.map((port) => `server 127.0.0.1:${port};`).join(' ')}
    keepalive 256; keepalive_requests 1000000000; }
  server { ${server}
    server_name ${HOST};
    location / { ${headers}
        ${pass} } }
}
`;
}
