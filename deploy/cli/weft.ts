// The `weft` command. `weft run` stays for as long as its application does, so it loads nothing of the others.

const [command, ...rest] = process.argv.slice(2);
if (command === 'run') {
  const { run } = await import('./run.ts');
  // Beside this file, in the tree as in the bundle.
  const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
  await run(rest, new URL(`../../sidecar/main.${extension}`, import.meta.url));
} else {
  const { runCommand } = await import('./commands.ts');
  process.exitCode = await runCommand(process.argv);
}
