// Envoy as a peer: `--concurrency 1`, host routing, a request id, default statistics, retries and circuit breakers,
// least request; between two hops HTTP/2 over mutual TLS with SPIFFE ids matched and an RBAC filter at the receiver.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { accepting, findProgram, freePorts, type Started, versionOf } from '../processes.ts';
import { HOST, type Launched, type Peer, type Site, SNI, startProxy } from './peer.ts';

const TYPE = 'type.googleapis.com/envoy.extensions';

export const envoy: Peer = {
  name: 'envoy',
  version() {
    const path = findProgram('envoy');
    return path === null ? null : versionOf(path, '--version');
  },
  async launch(site) {
    const [outer = 0, inner = 0] = await freePorts(2);
    const { scenario } = site;
    const h2 = scenario.protocol === 'h2';
    const apps = cluster(site.backends, h2, null);
    const authorize = rbac(site.identities.client.spiffeId);
    if (scenario.hops === 1) {
      const mutual = scenario.front === 'mutual';
      const tls = scenario.front === 'clear' ? null : downstreamTls(site, mutual);
      return launch(site, [[bootstrap(outer, tls, apps, mutual ? [authorize] : []), outer]]);
    }
    return launch(site, [
      [bootstrap(outer, null, cluster([inner], true, upstreamTls(site)), []), outer],
      [bootstrap(inner, downstreamTls(site, true), apps, [authorize]), inner],
    ]);
  },
};

async function launch(site: Site, configs: readonly (readonly [object, number])[]): Promise<Launched> {
  const programs: Started[] = [];
  for (const [index, [config, port]] of configs.entries()) {
    const path = join(site.folder, `envoy-${index}.yaml`);
    writeFileSync(path, stringify(config));
    const options = ['--concurrency', '1', '--disable-hot-restart', '--log-level', 'warn'];
    const program = startProxy('envoy', [findProgram('envoy') ?? 'envoy', '-c', path, ...options]);
    programs.push(program);
    await accepting(program, port);
  }
  const config = configs.map(([text]) => stringify(text)).join('---\n');
  return { port: configs[0]?.[1] ?? 0, programs, config };
}

function bootstrap(port: number, tls: object | null, app: object, filters: readonly object[]): object {
  const manager = {
    '@type': `${TYPE}.filters.network.http_connection_manager.v3.HttpConnectionManager`,
    stat_prefix: 'in',
    codec_type: 'AUTO',
    forward_client_cert_details: 'SANITIZE_SET',
    set_current_client_cert_details: { uri: true },
    route_config: {
      virtual_hosts: [
        {
          name: HOST,
          domains: [HOST],
          routes: [
            {
              match: { prefix: '/' },
              route: {
                cluster: 'app',
                timeout: '15s',
                retry_policy: { retry_on: 'connect-failure,refused-stream,reset-before-request', num_retries: 2 },
              },
            },
          ],
        },
      ],
    },
    http_filters: [...filters, { name: 'router', typed_config: { '@type': `${TYPE}.filters.http.router.v3.Router` } }],
  };
  return {
    static_resources: {
      listeners: [
        {
          name: 'in',
          address: address(port),
          filter_chains: [
            {
              ...(tls === null ? {} : { transport_socket: { name: 'tls', typed_config: tls } }),
              filters: [{ name: 'http', typed_config: manager }],
            },
          ],
        },
      ],
      clusters: [app],
    },
  };
}

function cluster(ports: readonly number[], h2: boolean, tls: object | null): object {
  const protocol = h2 ? { http2_protocol_options: {} } : { http_protocol_options: {} };
  return {
    name: 'app',
    type: 'STATIC',
    connect_timeout: '1s',
    lb_policy: 'LEAST_REQUEST',
    typed_extension_protocol_options: {
      'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
        '@type': `${TYPE}.upstreams.http.v3.HttpProtocolOptions`,
        explicit_http_config: protocol,
      },
    },
    load_assignment: {
      cluster_name: 'app',
      endpoints: [{ lb_endpoints: ports.map((port) => ({ endpoint: { address: address(port) } })) }],
    },
    ...(tls === null ? {} : { transport_socket: { name: 'tls', typed_config: tls } }),
  };
}

function downstreamTls(site: Site, mutual: boolean): object {
  const { server, client, roots } = site.identities;
  return {
    '@type': `${TYPE}.transport_sockets.tls.v3.DownstreamTlsContext`,
    require_client_certificate: mutual,
    // As Weft: every handshake is a full one.
    disable_stateless_session_resumption: true,
    disable_stateful_session_resumption: true,
    common_tls_context: {
      alpn_protocols: ['h2', 'http/1.1'],
      tls_params: { tls_minimum_protocol_version: 'TLSv1_3', tls_maximum_protocol_version: 'TLSv1_3' },
      tls_certificates: [certificate(server)],
      ...(mutual ? { validation_context: validation(roots, client.spiffeId) } : {}),
    },
  };
}

function upstreamTls(site: Site): object {
  const { server, client, roots } = site.identities;
  return {
    '@type': `${TYPE}.transport_sockets.tls.v3.UpstreamTlsContext`,
    sni: SNI,
    common_tls_context: {
      alpn_protocols: ['h2'],
      tls_params: { tls_minimum_protocol_version: 'TLSv1_3', tls_maximum_protocol_version: 'TLSv1_3' },
      tls_certificates: [certificate(client)],
      validation_context: validation(roots, server.spiffeId),
    },
  };
}

function certificate({ certificate, key }: { certificate: string; key: string }): object {
  return { certificate_chain: { filename: certificate }, private_key: { filename: key } };
}

function validation(roots: string, spiffeId: string): object {
  const matcher = { san_type: 'URI', matcher: { exact: spiffeId } };
  return { trusted_ca: { filename: roots }, match_typed_subject_alt_names: [matcher] };
}

function rbac(spiffeId: string): object {
  const policy = {
    permissions: [{ any: true }],
    principals: [{ authenticated: { principal_name: { exact: spiffeId } } }],
  };
  const rules = { action: 'ALLOW', policies: { client: policy } };
  return { name: 'rbac', typed_config: { '@type': `${TYPE}.filters.http.rbac.v3.RBAC`, rules } };
}

function address(port: number): object {
  return { socket_address: { address: '127.0.0.1', port_value: port } };
}
