// The `weft` command. `weft run` stays for as long as its application does, so it loads nothing of the others.

const [command, ...rest] = process.argv.slice(2);
if (command === 'run') {
  // First of all: without a listener, Node answers SIGUSR1 with an inspector, which runs any code it is sent. The flag
  // that the launcher gives the other programs would keep the signal from run.ts, which passes it on.
  process.on('SIGUSR1', () => {});
  const { run } = await import('./run.ts');
  // Beside this file, in the tree as in the bundle.
  const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
  await run(rest, new URL(`../../sidecar/main.${extension}`, import.meta.url));
} else {
  // Whoever reads may have enough (`weft status | head -1`): the rest is not written, and the exit code stays what it is.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
  });
  const { runCommand } = await import('./commands.ts');
  process.exitCode = await runCommand(process.argv);
}
