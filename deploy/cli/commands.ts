// The commands that do one thing and end, each with an exit code of proto/kit/exit.ts.

import { Command, CommanderError } from 'commander';
import manifest from '../../package.json' with { type: 'json' };
import { EXIT } from '../../proto/kit/exit.ts';
import { CommandError } from './command-error.ts';

const POLICIES = 'a directory of .yaml, .yml and .json policies, or one file, to be read without those beside it';

/** What every command that asks the control plane takes. */
interface ApiFlags {
  readonly api: string;
  readonly adminTokenFile?: string;
  readonly json?: boolean;
}

/** Parses `argv` (node and script first), runs the command, returns the exit code. Prints its mistakes itself. */
export async function runCommand(argv: readonly string[]): Promise<number> {
  let code: number = EXIT.ok;
  const program = build((ended) => {
    code = ended;
  });
  try {
    await program.parseAsync([...argv]);
    return code;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.commandLine;
    if (error instanceof CommandError) {
      process.stderr.write(`weft: ${error.message}\n`);
      return error.exitCode;
    }
    process.stderr.write(`weft: this is a bug: ${error instanceof Error ? error.stack : String(error)}\n`);
    return EXIT.bug;
  }
}

function build(end: (code: number) => void): Command {
  const program = new Command('weft')
    .description('A service mesh: sidecars, a control plane, and AI models as a first-class protocol.')
    .version(manifest.version)
    .exitOverride()
    .showHelpAfterError('(weft --help lists the commands)')
    .configureOutput({ outputError: (text, write) => write(text.replace(/^error: /, 'weft: ')) });
  for (const [name, text] of [
    ['control-plane', 'run the control plane on a directory of policies (its --help lists the options)'],
    ['sidecar', 'run a sidecar for an application that listens already (its --help lists the options)'],
    ['run', 'start an application beside its sidecar: weft run [sidecar options] -- COMMAND...'],
  ] as const) {
    // Only for the list: the launcher and weft.ts start these without this file.
    program.command(name).description(text).exitOverride();
  }
  const subcommand = (name: string, text: string) =>
    program.command(name).description(text).exitOverride().showHelpAfterError(`(weft ${name} --help says more)`);
  const api = (name: string, text: string) =>
    subcommand(name, text)
      .option('--api <url>', 'where the API is', process.env.WEFT_API ?? 'http://127.0.0.1:15016')
      .option(
        '--admin-token-file <file>',
        'admin.token of the data directory; else WEFT_ADMIN_TOKEN is the token, else the default data directory is looked into',
      )
      .option('--json', 'print JSON');

  subcommand('check', 'name every mistake in policies, with file, line, column, field and fix')
    .argument('<path>', POLICIES)
    .option('--json', 'print one JSON document')
    .action(async (path: string, options: { json?: boolean }) => {
      const { checkPolicies } = await import('./policies.ts');
      end(await checkPolicies(path, options.json === true, process.stdout, process.stderr));
    });
  subcommand('render', 'print the snapshot that the sidecar of one service would get, as JSON, without secrets')
    .argument('<path>', POLICIES)
    .requiredOption('--service <name>', 'the Service whose sidecar is meant')
    .option('--namespace <namespace>', 'its namespace', 'default')
    .option('--service-account <name>', 'its account; the first that the Service lists, else its name')
    .option('--trust-domain <domain>', 'trust domain of the mesh', 'mesh.local')
    .action(
      async (
        path: string,
        options: { service: string; namespace: string; serviceAccount?: string; trustDomain: string },
      ) => {
        const { renderPolicies } = await import('./policies.ts');
        end(await renderPolicies(path, options, process.stdout, process.stderr));
      },
    );
  api('token', 'make a join token: for one service account, for one sidecar, expiring')
    .requiredOption('--service-account <name>', 'whom it proves: an account as Services name it, a-z, 0-9 and -')
    .option('--namespace <namespace>', 'the namespace of the account', 'default')
    .option('--ttl <duration>', 'its life, such as 15m or 24h; at most 24h', '1h')
    .action(async (options: ApiFlags & { serviceAccount: string; namespace: string; ttl: string }) => {
      const { printToken } = await import('./api.ts');
      await printToken(options, process.stdout);
    });
  api('revoke', 'trust a certificate or a service account no more: its connections end, and nothing is signed for it')
    .option('--serial <hex>', 'one certificate, as openssl x509 -serial prints it')
    .option('--service-account <name>', 'every certificate of an account, those signed later too')
    .option('--namespace <namespace>', 'the namespace of the account', 'default')
    .option('--reason <text>', 'why, for whoever reads it later', '')
    .option('--lift', 'the other way: trust it again')
    .action(async (options: ApiFlags & Parameters<typeof import('./api.ts').revoke>[0]) => {
      const { revoke } = await import('./api.ts');
      await revoke(options, process.stdout);
    });
  api('status', 'who is connected and in sync, what they refused, and what is wrong in the policies').action(
    async (options: ApiFlags) => {
      const { printStatus } = await import('./api.ts');
      await printStatus(options, process.stdout);
    },
  );
  api('get', 'list resources that the control plane has taken')
    .argument(
      '<kind>',
      'services, routes, authorizations, providers, models, telemetries, endpoints or revocations; Service and svc mean the same',
    )
    .argument('[name]', 'one of them')
    .option('--namespace <namespace>', 'of one namespace; all when left out')
    .action(async (kind: string, name: string | undefined, options: ApiFlags & { namespace?: string }) => {
      const { printResources } = await import('./api.ts');
      await printResources(kind, name, options, process.stdout);
    });
  subcommand('explain', 'ask a sidecar why a request goes where it goes, or is let in or not')
    .argument('<method>', 'GET, POST, ...')
    .argument('<url>', 'http://orders/path')
    .option('--admin <host:port>', "the sidecar's admin address", process.env.WEFT_ADMIN ?? '127.0.0.1:15000')
    .option('--direction <direction>', 'outbound or inbound', 'outbound')
    .option('--caller <spiffe-id>', 'who calls, spiffe://<trust-domain>/ns/<namespace>/sa/<account>; for inbound')
    .option('-H, --header <line...>', "a request header, 'name: value'; may be repeated")
    .option('--json', 'print JSON')
    .action(async (method: string, url: string, options: Parameters<typeof import('./explain.ts').explain>[2]) => {
      const { explain } = await import('./explain.ts');
      await explain(method, url, options, process.stdout);
    });
  return program;
}
