// HAProxy as a peer: one thread, pooled connections, a request id, host routing, retries on connection failures. It
// verifies certificates against the mesh's root; version 2.6 cannot match a URI name, so identities are not compared, and
// no SNI is sent: with one it would look for a DNS name in the certificate.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { accepting, findProgram, freePorts, type Started, versionOf } from '../processes.ts';
import { HOST, type Launched, type Peer, type Site, startProxy } from './peer.ts';

export const haproxy: Peer = {
  name: 'haproxy',
  version() {
    const path = findProgram('haproxy');
    return path === null ? null : versionOf(path, '-v');
  },
  async launch(site) {
    const [outer = 0, inner = 0] = await freePorts(2);
    const { roots, client, server } = site.identities;
    const own = ` ssl crt ${server.combined} alpn h2,http/1.1 ssl-min-ver TLSv1.3 no-tls-tickets`;
    const callers = ` ca-file ${roots} verify required`;
    const proto = site.scenario.protocol === 'h2' ? ' proto h2' : '';
    const bind = { clear: proto, tls: own, mutual: own + callers };
    const apps = site.backends.map((port, i) => `  server app${i} 127.0.0.1:${port}${proto} check inter 1h`);
    if (site.scenario.hops === 1) return launch(site, [[config(outer, bind[site.scenario.front], apps), outer]]);
    const tls = `ssl crt ${client.combined} ca-file ${roots} verify required ssl-min-ver TLSv1.3 alpn h2`;
    return launch(site, [
      [config(outer, bind.clear, [`  server peer 127.0.0.1:${inner} ${tls}`]), outer],
      [config(inner, bind.mutual, apps), inner],
    ]);
  },
};

async function launch(site: Site, configs: readonly (readonly [string, number])[]): Promise<Launched> {
  const programs: Started[] = [];
  for (const [index, [text, port]] of configs.entries()) {
    const path = join(site.folder, `haproxy-${index}.cfg`);
    writeFileSync(path, text);
    const program = startProxy('haproxy', [findProgram('haproxy') ?? 'haproxy', '-db', '-f', path]);
    programs.push(program);
    await accepting(program, port);
  }
  return { port: configs[0]?.[1] ?? 0, programs, config: configs.map(([text]) => text).join('\n') };
}

function config(port: number, bind: string, servers: readonly string[]): string {
  return `global
  nbthread 1
  maxconn 4096
defaults
  mode http
  timeout connect 1s
  timeout client 1h
  timeout server 15s
  retries 2
  retry-on conn-failure empty-response
  option redispatch
  http-reuse always
frontend in
  bind 127.0.0.1:${port}${bind}
  unique-id-format %[uuid()]
  unique-id-header x-request-id
  acl known hdr(host) -i ${HOST}
  use_backend app if known
  http-request return status 404 unless known
backend app
  balance leastconn
${servers.join('\n')}
`;
}
