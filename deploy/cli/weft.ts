// The `weft` command: parses the command line, runs one command, ends with one of the exit codes of proto/kit/exit.ts.
import { Command, CommanderError } from 'commander';
import { EXIT } from '../../proto/kit/exit.ts';
import { checkDirectory, renderDirectory } from './policies.ts';

const program = new Command('weft')
  .description('A service mesh: sidecars, a control plane, and AI models as a first-class protocol.')
  .exitOverride()
  .showHelpAfterError('(weft --help lists the commands)');

program
  .command('check')
  .description('name every mistake in a directory of policies, with file, line, column, field and fix')
  .argument('<dir>', 'directory of .yaml, .yml and .json policies')
  .option('--json', 'print one JSON document')
  .exitOverride()
  .action(async (dir: string, options: { json?: boolean }) => {
    process.exitCode = await checkDirectory(dir, options.json === true, process.stdout, process.stderr);
  });

program
  .command('render')
  .description('print the snapshot that the sidecar of one service would get, as JSON, without secrets')
  .argument('<dir>', 'directory of .yaml, .yml and .json policies')
  .requiredOption('--service <name>', 'the Service whose sidecar is meant')
  .option('--namespace <namespace>', 'its namespace', 'default')
  .option('--service-account <name>', 'its account; the first that the Service lists, else its name')
  .option('--trust-domain <domain>', 'trust domain of the mesh', 'mesh.local')
  .exitOverride()
  .action(
    async (
      dir: string,
      options: { service: string; namespace: string; serviceAccount?: string; trustDomain: string },
    ) => {
      process.exitCode = await renderDirectory(dir, options, process.stdout, process.stderr);
    },
  );

try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof CommanderError) {
    process.exitCode = error.exitCode === 0 ? EXIT.ok : EXIT.commandLine;
  } else {
    process.stderr.write(`weft: this is a bug: ${error instanceof Error ? error.stack : String(error)}\n`);
    process.exitCode = EXIT.bug;
  }
}
