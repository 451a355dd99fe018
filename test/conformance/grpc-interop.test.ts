// gRPC's own interoperability tests (grpc/doc/interop-test-descriptions.md): grpc-go's client and server, which know
// nothing of Weft, through one sidecar and through two.
//
// Run: every case of the client that needs no cloud. Not run: those with credentials of Google Cloud
// (`compute_engine_*`, `service_account_creds`, `jwt_token_creds`, `per_rpc_creds`, `oauth2_auth_token`,
// `google_default_credentials`), and `pick_first_unary`, which needs servers that name themselves: grpc-go's own fails it
// without any proxy. grpc-go has no cases for compression; those of Connect's suite are run.

import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:net';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { freePorts } from '../../bench/processes.ts';
import { Protocol } from '../../proto/gen/weft/policy/v1/service_pb.js';
import { type HopCount, type Hops, startHops } from '../support/hops.ts';
import { until } from '../support/worker-rig.ts';
import { isSkipped, programPath } from './programs.ts';

/** A soak's own bound of 1 s a call measures the machine. */
const PATIENT = ['--soak_per_iteration_max_acceptable_latency_ms', '20000', '--soak_overall_timeout_seconds', '20'];
const ORCA = ['--service_config_json', '{"loadBalancingConfig":[{"test_backend_metrics_load_balancer":{}}]}'];

/** By name, and what a case needs beside its name. */
const CASES: readonly (readonly [string, ...string[]])[] = [
  ['empty_unary'],
  ['large_unary'],
  ['client_streaming'],
  ['server_streaming'],
  ['ping_pong'],
  ['empty_stream'],
  ['timeout_on_sleeping_server'],
  ['cancel_after_begin'],
  ['cancel_after_first_response'],
  ['status_code_and_message'],
  ['special_status_message'],
  ['custom_metadata'],
  ['unimplemented_method'],
  ['unimplemented_service'],
  ['rpc_soak', '--soak_iterations', '100', ...PATIENT],
  ['channel_soak', '--soak_iterations', '20', ...PATIENT],
  ['orca_per_rpc', ...ORCA],
  ['orca_oob', ...ORCA],
];

const skipped = isSkipped('grpc-interop-client', 'grpc-interop-server');

let server: ChildProcess | null = null;
let serverPort = 0;

beforeAll(async () => {
  if (skipped) return;
  // The program takes no port 0.
  [serverPort = 0] = await freePorts(1);
  server = spawn(programPath('grpc-interop-server'), ['--port', String(serverPort)], { stdio: 'ignore' });
  await until('the interop server listens', () => accepts(serverPort));
});
afterAll(async () => {
  if (server === null || server.exitCode !== null) return;
  server.kill('SIGKILL');
  await once(server, 'exit');
});

describe.skipIf(skipped).each<HopCount>([1, 2])(
  'gRPC interop with sidecars in between: %i (needs grpc-interop-client and -server)',
  (count) => {
    let hops: Hops | null = null;
    beforeAll(async () => {
      hops = await startHops(count, serverPort, Protocol.GRPC);
    });
    afterAll(() => hops?.close());

    test.each(CASES)('%s', async (name, ...options) => {
      const { port, sidecars } = hops as Hops;
      const failure = await runCase(port, name, options);
      expect(failure).toBe('');
      for (const sidecar of sidecars) expect(await sidecar.metric('weft_contained_total')).toBe(0);
    });
  },
);

/** What the client says went wrong; empty: the case passed. */
async function runCase(port: number, name: string, options: readonly string[]): Promise<string> {
  const args = ['--server_host', '127.0.0.1', '--server_port', String(port), '--test_case', name, ...options];
  try {
    await promisify(execFile)(programPath('grpc-interop-client'), args, { timeout: 25_000 });
    return '';
  } catch (error) {
    const { stderr } = error as { stderr?: string };
    return `${(error as Error).message}\n${stderr ?? ''}`;
  }
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}
