// The demo's mesh as processes: one control plane, and for each application instance the application and its sidecar.
// Everything lives in one temporary directory; every port is free when it is taken.

import { cpSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ControlPlaneApi } from './api.ts';
import { Part } from './part.ts';
import { program, root } from './program.ts';

/** What the demo's own servers are reached at. */
export interface MeshOptions {
  readonly providerPort: number;
  /** Goes to the sidecar of `web` and nowhere else. */
  readonly providerKey: string;
  readonly otlpPort: number;
  /** A part ended by itself: its name, how, and its last lines. */
  readonly onCrash: (part: Part, how: string) => void;
}

/** An application and its sidecar. */
export interface Instance {
  readonly spec: InstanceSpec;
  readonly directory: string;
  readonly appPort: number;
  app: Part;
  sidecar: Part;
}

interface InstanceSpec {
  readonly name: string;
  readonly service: string;
  readonly labels: readonly string[];
  /** Services with a port of their own on localhost. */
  readonly locals: readonly string[];
  /** The application's environment, from the sidecar's ports. */
  readonly env: (ports: Readonly<Record<string, number>>) => Record<string, string>;
}

const ordersEnv = (instance: string, version: string) => (ports: Readonly<Record<string, number>>) => ({
  INSTANCE: instance,
  VERSION: version,
  INVENTORY_ADDRESS: `127.0.0.1:${ports['local:inventory']}`,
  SCORER_URL: `http://127.0.0.1:${ports['local:scorer']}`,
});

const INSTANCES: readonly InstanceSpec[] = [
  {
    name: 'web',
    service: 'web',
    labels: [],
    locals: [],
    env: (ports) => ({
      HTTP_PROXY: `http://127.0.0.1:${ports['outbound']}`,
      NO_PROXY: '127.0.0.1',
      ORDERS_URL: 'http://orders',
      OPENAI_BASE_URL: `http://127.0.0.1:${ports['ai']}/v1`,
    }),
  },
  {
    name: 'orders-1',
    service: 'orders',
    labels: ['version=v1'],
    locals: ['inventory', 'scorer'],
    env: ordersEnv('orders-1', 'v1'),
  },
  {
    name: 'orders-2',
    service: 'orders',
    labels: ['version=v2'],
    locals: ['inventory', 'scorer'],
    env: ordersEnv('orders-2', 'v2'),
  },
  { name: 'inventory', service: 'inventory', labels: [], locals: [], env: () => ({}) },
  { name: 'scorer', service: 'scorer', labels: [], locals: [], env: () => ({}) },
];

/** The variables that any Node program may need; nothing else of ours is passed on. */
const KEPT = ['PATH', 'HOME', 'TMPDIR', 'LANG', 'SSL_CERT_FILE', 'NODE_EXTRA_CA_CERTS'];
/** What the demo's policies say before the mock provider has a port. */
const PROVIDER_URL = 'http://127.0.0.1:18080/v1';

/** A running mesh. */
export class Mesh {
  readonly directory = mkdtempSync(join(tmpdir(), 'weft-demo-'));
  readonly policies = join(this.directory, 'policies');
  readonly instances = new Map<string, Instance>();
  controlPlane: Part;
  private readonly options: MeshOptions;

  private constructor(options: MeshOptions) {
    this.options = options;
    mkdirSync(join(this.directory, 'logs'));
    cpSync(join(root, 'deploy/demo/policies'), this.policies, { recursive: true });
    this.editPolicy('models.yaml', (text) => text.replace(PROVIDER_URL, `http://127.0.0.1:${options.providerPort}/v1`));
    this.controlPlane = this.spawnControlPlane({});
  }

  /** Starts everything and waits until each part serves. When one does not, the rest is ended and the reason thrown. */
  static async start(options: MeshOptions, onMesh: (mesh: Mesh) => void): Promise<Mesh> {
    const mesh = new Mesh(options);
    onMesh(mesh);
    await mesh.controlPlane.ready(mesh.readyFile('control-plane'));
    await Promise.all(INSTANCES.map((spec) => mesh.startInstance(spec)));
    return mesh;
  }

  get api(): ControlPlaneApi {
    const token = readFileSync(this.adminTokenFile, 'utf8').trim();
    return new ControlPlaneApi(`http://127.0.0.1:${this.controlPlane.ports['api']}`, token);
  }

  get adminTokenFile(): string {
    return join(this.directory, 'control-plane', 'admin.token');
  }

  instance(name: string): Instance {
    const found = this.instances.get(name);
    if (found === undefined) throw new Error(`there is no instance ${name}`);
    return found;
  }

  /** A policy file is replaced whole, as editors do. */
  editPolicy(file: string, edit: (text: string) => string): void {
    const path = join(this.policies, file);
    const before = readFileSync(path, 'utf8');
    const after = edit(before);
    if (after === before) throw new Error(`${file}: the edit changed nothing`);
    writeFileSync(`${path}.new`, after);
    renameSync(`${path}.new`, path);
  }

  /** The same program on the same ports and data. */
  async restartControlPlane(): Promise<void> {
    this.controlPlane = this.spawnControlPlane(this.controlPlane.ports);
    await this.controlPlane.ready(this.readyFile('control-plane'));
  }

  /** Ends a sidecar as a supervisor would, and starts it again on the same ports, identity and state. */
  async restartSidecar(instance: Instance): Promise<void> {
    const { ports } = instance.sidecar;
    await instance.sidecar.end();
    instance.sidecar = this.spawnSidecar(instance.spec, instance.appPort, ports);
    await instance.sidecar.ready(this.readyFile(`${instance.spec.name}-sidecar`));
  }

  /** After SIGKILL of both. */
  async restartInstance(instance: Instance): Promise<void> {
    const { ports } = instance.sidecar;
    instance.sidecar = this.spawnSidecar(instance.spec, instance.appPort, ports);
    instance.app = this.spawnApp(instance.spec, instance.appPort, ports);
    await instance.sidecar.ready(this.readyFile(`${instance.spec.name}-sidecar`));
    await instance.app.ready(undefined);
  }

  /** Callers before those they call, the control plane last; says of each part that did not end well how it ended. */
  async end(): Promise<string[]> {
    const bad: string[] = [];
    const endOne = async (part: Part) => {
      const how = await part.end();
      if (how !== null) bad.push(`${part.name}: ${how}`);
    };
    for (const { name } of INSTANCES) {
      const instance = this.instances.get(name);
      if (instance === undefined) continue;
      await endOne(instance.sidecar);
      await endOne(instance.app);
    }
    await endOne(this.controlPlane);
    return bad;
  }

  /** Nothing may outlive this process, whatever happened to it. */
  killNow(): void {
    for (const { app, sidecar } of this.instances.values()) {
      app.killNow();
      sidecar.killNow();
    }
    this.controlPlane.killNow();
  }

  removeDirectory(): void {
    rmSync(this.directory, { recursive: true, force: true });
  }

  readyFile(name: string): string {
    return join(this.directory, `${name}.ready.json`);
  }

  private async startInstance(spec: InstanceSpec): Promise<void> {
    const appPort = await freePort();
    const directory = join(this.directory, spec.name);
    mkdirSync(directory, { mode: 0o700 });
    const token = await this.api.createJoinToken(spec.service);
    writeFileSync(join(directory, 'join-token'), token, { mode: 0o600 });
    const sidecar = this.spawnSidecar(spec, appPort, {});
    await sidecar.ready(this.readyFile(`${spec.name}-sidecar`)).catch((error) => {
      sidecar.killNow();
      throw error;
    });
    const app = this.spawnApp(spec, appPort, sidecar.ports);
    this.instances.set(spec.name, { spec, directory, appPort, app, sidecar });
    await app.ready(undefined);
  }

  private spawnControlPlane(ports: Readonly<Record<string, number>>): Part {
    const port = (name: string) => String(ports[name] ?? 0);
    return this.spawn('control-plane', {}, this.readyFile('control-plane'), [
      ...[
        program('control-plane/main'),
        '--policies',
        this.policies,
        '--data-dir',
        join(this.directory, 'control-plane'),
      ],
      ...['--host', '127.0.0.1', '--grpc-port', port('grpc'), '--api-port', port('api')],
      ...['--metrics-port', port('metrics'), '--ready-file', this.readyFile('control-plane')],
    ]);
  }

  private spawnSidecar(spec: InstanceSpec, appPort: number, ports: Readonly<Record<string, number>>): Part {
    const readyFile = this.readyFile(`${spec.name}-sidecar`);
    const directory = join(this.directory, spec.name);
    const kinds = ['outbound', 'inbound', 'ai', 'admin', 'metrics', 'readiness'];
    // The AI port's key belongs to the one sidecar that may use it.
    const key: Record<string, string> = spec.name === 'web' ? { MOCK_PROVIDER_KEY: this.options.providerKey } : {};
    const env = {
      ...key,
      OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${this.options.otlpPort}`,
      OTEL_BSP_SCHEDULE_DELAY: '200',
    };
    return this.spawn(`${spec.name}-sidecar`, env, readyFile, [
      ...[program('sidecar/main'), '--app', `${spec.service}=${appPort}`, '--workload-id', spec.name],
      ...['--control-plane', `127.0.0.1:${this.controlPlane.ports['grpc']}`, '--state-dir', join(directory, 'state')],
      ...['--join-token-file', join(directory, 'join-token'), '--advertise-address', '127.0.0.1'],
      ...['--inbound-host', '127.0.0.1', '--metrics-host', '127.0.0.1', '--drain-time', '2s'],
      ...kinds.flatMap((kind) => [`--${kind}-port`, String(ports[kind] ?? 0)]),
      ...spec.locals.flatMap((name) => ['--local', `${name}=${ports[`local:${name}`] ?? 0}`]),
      ...spec.labels.flatMap((label) => ['--label', label]),
      ...['--ready-file', readyFile],
    ]);
  }

  private spawnApp(spec: InstanceSpec, appPort: number, ports: Readonly<Record<string, number>>): Part {
    const env = { PORT: String(appPort), ...spec.env(ports) };
    return this.spawn(spec.name, env, undefined, [program(`deploy/demo/apps/${spec.service}`)]);
  }

  private spawn(name: string, env: Record<string, string>, readyFile: string | undefined, command: string[]): Part {
    const kept = KEPT.flatMap((key) => (process.env[key] === undefined ? [] : [[key, process.env[key]]]));
    return new Part({
      name,
      command,
      env: { ...Object.fromEntries(kept), ...env },
      logFile: join(this.directory, 'logs', `${name}.log`),
      ...(readyFile === undefined ? {} : { readyFile }),
      onCrash: this.options.onCrash,
    });
  }
}

/**
 * A port that nobody uses: the sidecar must know the application's port and the application its sidecar's, so one of
 * them is chosen before it is bound. Below the range from which systems take ports for outgoing connections.
 */
async function freePort(): Promise<number> {
  for (let attempt = 0; attempt < 100; attempt++) {
    const port = 20_000 + Math.floor(Math.random() * 10_000);
    const free = await new Promise<boolean>((resolve) => {
      const server = createServer();
      server.once('error', () => resolve(false));
      server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
    });
    if (free) return port;
  }
  throw new Error('no free port on 127.0.0.1 from 20000 to 29999');
}
