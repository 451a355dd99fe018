// A real control plane in a process of its own, and the client side of a sidecar without a data path: it joins,
// discovers and registers as one, and counts what it is sent.

import { type ChildProcess, spawn } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { create } from '@bufbuild/protobuf';
import { createClient } from '@connectrpc/connect';
import { createConnectTransport } from '@connectrpc/connect-node';
import {
  type ChannelCredentials,
  type ClientDuplexStream,
  credentials,
  makeGenericClientConstructor,
  type ServiceError,
} from '@grpc/grpc-js';
import { DISCOVERY_DEFINITION } from '../../control-plane/discovery/server.ts';
import { pem } from '../../control-plane/identity/server-credentials.ts';
import { IDENTITY_DEFINITION } from '../../control-plane/identity/service.ts';
import { WORKLOAD_DEFINITION } from '../../control-plane/workloads/service.ts';
import {
  type DeltaDiscoveryRequest,
  DeltaDiscoveryRequestSchema,
  type DeltaDiscoveryResponse,
} from '../../proto/gen/envoy/service/discovery/v3/discovery_pb.js';
import { MeshService } from '../../proto/gen/weft/api/v1/api_pb.js';
import {
  type SignRequest,
  SignRequestSchema,
  type SignResponse,
} from '../../proto/gen/weft/identity/v1/identity_pb.js';
import {
  type RegisterRequest,
  RegisterRequestSchema,
  type RegisterResponse,
} from '../../proto/gen/weft/mesh/v1/workload_pb.js';
import { decodeJoinToken } from '../../proto/kit/join-token.ts';
import { uriName } from '../../proto/kit/san.ts';
import { fetchPinnedRoot } from '../../sidecar/identity/first-contact.ts';
import { createWorkloadKey } from '../../sidecar/identity/key.ts';

const MAIN = fileURLToPath(new URL('../../control-plane/main.ts', import.meta.url));
const CONTROL_PLANE_ID = /^spiffe:\/\/[^/]+\/ns\/weft-system\/sa\/control-plane$/;

/** An address is no TLS server name; the SPIFFE id is what is verified. */
const CLIENT_OPTIONS = { 'grpc.ssl_target_name_override': 'control-plane.weft-system' };

/** How long a condition may take that needs milliseconds, on a machine busy with other tests. */
const PATIENCE_MS = 10_000;

/** Waits for a condition; fails with `what` when it does not come. */
export async function eventually(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  const end = performance.now() + PATIENCE_MS;
  while (!(await condition())) {
    if (performance.now() > end) throw new Error(`did not happen within ${PATIENCE_MS} ms: ${what}`);
    await sleep(10);
  }
}

/** A control plane's files and its process, which may be killed and started again on the same ports. */
export class ControlPlaneProcess {
  readonly directory = mkdtempSync(join(tmpdir(), 'weft-cp-'));
  readonly policies = join(this.directory, 'policies');
  readonly dataDir = join(this.directory, 'data');
  readonly #args: readonly string[];
  readonly #env: Readonly<Record<string, string>>;
  #child: ChildProcess | null = null;
  #ports: Record<string, number> = {};
  output = '';

  /** @param env beside this process's; with XDG_STATE_HOME no data directory is given. */
  constructor(policies: Record<string, string>, args: readonly string[] = [], env: Record<string, string> = {}) {
    this.#args = args;
    this.#env = env;
    mkdirSync(this.policies);
    for (const [file, text] of Object.entries(policies)) this.write(file, text);
  }

  write(file: string, text: string): void {
    writeFileSync(join(this.policies, file), text);
  }

  port(name: string): number {
    const port = this.#ports[name];
    if (port === undefined) throw new Error(`no port ${name}; is it started?`);
    return port;
  }

  /** Resolves when it serves; again after an end: on the same ports. Rejects with its output when it ends instead. */
  async start(): Promise<void> {
    const ready = join(this.directory, 'ready');
    rmSync(ready, { force: true });
    // An option given by the test comes instead of ours: each may be given once.
    const ours = (option: string, value: string) => (this.#args.includes(option) ? [] : [option, value]);
    const ports = ['grpc', 'api', 'metrics'].flatMap((name) => ours(`--${name}-port`, String(this.#ports[name] ?? 0)));
    const dataDir = this.#env.XDG_STATE_HOME === undefined ? ours('--data-dir', this.dataDir) : [];
    const files = ['--policies', this.policies, ...dataDir, '--ready-file', ready];
    const args = [MAIN, ...files, ...ports, ...ours('--host', '127.0.0.1'), ...this.#args];
    const env = { ...process.env, ...this.#env };
    const child = spawn(process.execPath, args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
    this.#child = child;
    const closed = once(child, 'close');
    child.stdout.on('data', (chunk) => {
      this.output += chunk;
    });
    child.stderr.on('data', (chunk) => {
      this.output += chunk;
    });
    await eventually('the control plane serves', () => existsSync(ready) || child.exitCode !== null);
    if (child.exitCode !== null) {
      // What it printed last may come after its end.
      await closed;
      throw new Error(`ended with ${child.exitCode}: ${this.output}`);
    }
    this.#ports = (JSON.parse(readFileSync(ready, 'utf8')) as { ports: Record<string, number> }).ports;
  }

  /** Ends the process; resolves with its exit code, null when a signal ended it. */
  async end(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | null> {
    const child = this.#child;
    this.#child = null;
    if (child === null || child.exitCode !== null) return child?.exitCode ?? null;
    const closed = once(child, 'close');
    child.kill(signal);
    await closed;
    return child.exitCode;
  }

  /** Ends it and removes its files. */
  async remove(): Promise<void> {
    await this.end();
    rmSync(this.directory, { recursive: true, force: true });
  }

  get adminToken(): string {
    return readFileSync(join(this.dataDir, 'admin.token'), 'utf8').trim();
  }

  api(token = this.adminToken) {
    const transport = createConnectTransport({
      httpVersion: '1.1',
      baseUrl: `http://127.0.0.1:${this.port('api')}`,
      interceptors: [
        (next) => (request) => {
          request.header.set('authorization', `Bearer ${token}`);
          return next(request);
        },
      ],
    });
    return createClient(MeshService, transport);
  }

  /** A workload that has joined: a token for the account, redeemed for a certificate. */
  async join(serviceAccount: string): Promise<Workload> {
    const { token } = await this.api().createJoinToken({ serviceAccount });
    return this.redeem(token);
  }

  /** Rejects with the ServiceError when the token is refused. */
  async redeem(token: string): Promise<Workload> {
    const { privateKeyPem, csr } = await createWorkloadKey();
    const response = await sign(this.port('grpc'), await trusted(this.port('grpc'), token), csr, token);
    return new Workload(this, privateKeyPem, response);
  }
}

/** TLS towards the control plane whose root the token names, without a certificate of one's own. */
export async function trusted(port: number, token: string): Promise<ChannelCredentials> {
  const decoded = decodeJoinToken(token);
  if (!decoded.ok) throw new Error(decoded.error);
  const root = await fetchPinnedRoot('127.0.0.1', port, decoded.token.rootKeyHash);
  return credentials.createSsl(Buffer.from(root.toString()), null, null, { checkServerIdentity });
}

/** One Sign call; rejects with the ServiceError. */
export function sign(
  port: number,
  channel: ChannelCredentials,
  csr: Uint8Array,
  joinToken: string,
): Promise<SignResponse> {
  const Client = makeGenericClientConstructor(IDENTITY_DEFINITION, 'identity');
  const client = new Client(`127.0.0.1:${port}`, channel, CLIENT_OPTIONS) as unknown as {
    sign(request: SignRequest, done: (error: ServiceError | null, response: SignResponse) => void): void;
    close(): void;
  };
  return new Promise((resolve, reject) => {
    client.sign(create(SignRequestSchema, { csr, joinToken }), (error, response) => {
      client.close();
      if (error === null) resolve(response);
      else reject(error);
    });
  });
}

/** An attested workload: what its sidecar's main thread does. */
export class Workload {
  readonly signed: SignResponse;
  readonly #plane: ControlPlaneProcess;
  readonly #keyPem: string;
  readonly #cleanups: (() => void)[] = [];

  constructor(plane: ControlPlaneProcess, keyPem: string, signed: SignResponse) {
    this.#plane = plane;
    this.#keyPem = keyPem;
    this.signed = signed;
  }

  /** Of its certificate. */
  get serial(): string {
    return new X509Certificate(this.signed.certificateChain[0] ?? '').serialNumber;
  }

  /** Asks for another certificate with the one it has; rejects with the ServiceError. */
  async renew(): Promise<SignResponse> {
    const { csr } = await createWorkloadKey();
    return sign(this.#plane.port('grpc'), this.channel, csr, '');
  }

  get channel(): ChannelCredentials {
    const roots = Buffer.from(this.signed.trustBundle.map(pem).join(''));
    const chain = Buffer.from(this.signed.certificateChain.map(pem).join(''));
    return credentials.createSsl(roots, Buffer.from(this.#keyPem), chain, { checkServerIdentity });
  }

  discover(typeUrls: readonly string[], initial: Record<string, Record<string, string>> = {}): Discovery {
    const client = this.#client(DISCOVERY_DEFINITION) as unknown as { deltaAggregatedResources(): DiscoveryCall };
    return new Discovery(client.deltaAggregatedResources(), typeUrls, initial);
  }

  register(): Registering {
    const client = this.#client(WORKLOAD_DEFINITION) as unknown as { register(): RegisterCall };
    return new Registering(client.register());
  }

  close(): void {
    for (const cleanup of this.#cleanups.splice(0)) cleanup();
  }

  #client(definition: Parameters<typeof makeGenericClientConstructor>[0]) {
    const Client = makeGenericClientConstructor(definition, 'client');
    const client = new Client(`127.0.0.1:${this.#plane.port('grpc')}`, this.channel, CLIENT_OPTIONS);
    this.#cleanups.push(() => client.close());
    return client;
  }
}

type DiscoveryCall = ClientDuplexStream<DeltaDiscoveryRequest, DeltaDiscoveryResponse>;
type RegisterCall = ClientDuplexStream<RegisterRequest, RegisterResponse>;

/** Subscribes to everything of the types; acknowledges while `acknowledging`. */
export class Discovery {
  readonly call: DiscoveryCall;
  readonly messages: DeltaDiscoveryResponse[] = [];
  /** Resource name by short type: `Endpoint default/orders/a`. */
  readonly held = new Map<string, string>();
  bytes = 0;
  acknowledging = true;
  error: ServiceError | null = null;

  constructor(call: DiscoveryCall, typeUrls: readonly string[], initial: Record<string, Record<string, string>>) {
    this.call = call;
    call.on('error', (error: ServiceError) => {
      this.error = error;
    });
    call.on('data', (response: DeltaDiscoveryResponse) => this.#take(response));
    for (const typeUrl of typeUrls) {
      this.say({ typeUrl, resourceNamesSubscribe: ['*'], initialResourceVersions: initial[typeUrl] ?? {} });
    }
  }

  say(fields: Parameters<typeof create<typeof DeltaDiscoveryRequestSchema>>[1]): void {
    this.call.write(create(DeltaDiscoveryRequestSchema, fields));
  }

  #take(response: DeltaDiscoveryResponse): void {
    const type = response.typeUrl.split('.').at(-1);
    for (const { name, version, resource } of response.resources) {
      this.held.set(`${type} ${name}`, version);
      this.bytes += resource?.value.length ?? 0;
    }
    for (const name of response.removedResources) this.held.delete(`${type} ${name}`);
    this.messages.push(response);
    if (this.acknowledging) this.say({ typeUrl: response.typeUrl, responseNonce: response.nonce });
  }
}

/** One Register stream. */
export class Registering {
  readonly call: RegisterCall;
  readonly answers: RegisterResponse[] = [];
  error: ServiceError | null = null;

  constructor(call: RegisterCall) {
    this.call = call;
    call.on('error', (error: ServiceError) => {
      this.error = error;
    });
    call.on('data', (response: RegisterResponse) => this.answers.push(response));
  }

  /** Sends one registration; resolves with its endpoints, rejects with the status. */
  async say(fields: Parameters<typeof create<typeof RegisterRequestSchema>>[1]): Promise<readonly string[]> {
    const before = this.answers.length;
    this.call.write(create(RegisterRequestSchema, fields));
    await eventually('the registration is answered', () => this.answers.length > before || this.error !== null);
    if (this.error !== null) throw this.error;
    return this.answers.at(-1)?.endpoints ?? [];
  }
}

function checkServerIdentity(_host: string, certificate: { raw: Buffer }): Error | undefined {
  const id = uriName(certificate.raw) ?? '';
  return CONTROL_PLANE_ID.test(id) ? undefined : new Error(`not the control plane: ${id}`);
}
