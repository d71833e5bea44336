#!/usr/bin/env node
/** The command line: what a person types, exit codes, signals. The only file of the agent that ends the process. */
import { setFlagsFromString } from 'node:v8';
import { Command, CommanderError, Option } from 'commander';
import { errorLine, LoamletError } from './base/errors.ts';
import { version } from './base/version.ts';
import { defaultConfigPath } from './config/load.ts';
import { registerImages } from './images/commands.ts';
import { registerRun } from './run-command.ts';
import { registerStatus } from './observe/commands.ts';

/** 1: refused. 2: typed wrong. */
const exitMisuse = 2;
/** Our mistake (EX_SOFTWARE). */
const exitBroken = 70;

/** Runs the agent until a signal or `loamlet stop`. */
async function runNode(configPath: string): Promise<void> {
  keepYoungHeapSmall();
  const [{ loadConfig }, { parseDevice }, { createLogger }, { Node }] = await Promise.all([
    import('./config/load.ts'),
    import('../devices/catalog.ts'),
    import('./observe/logger.ts'),
    import('./node.ts'),
  ]);
  const config = loadConfig(configPath, parseDevice);
  const { level, format } = config.log;
  const log = createLogger(format === 'auto' ? { level } : { level, format });
  // Taken before anything is opened: an early Ctrl-C must end what has begun.
  const signalled = new Promise<'leave' | 'stop'>((resolve) => {
    process.once('SIGTERM', () => resolve('leave'));
    process.once('SIGINT', () => resolve('stop'));
  });
  const node = await Node.open(config, log);
  log.info({ node: config.nodeName, version }, 'loamlet runs');
  const end = await Promise.race([signalled, node.stopAsked.then(() => 'stop' as const)]);
  // A second signal means now.
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(130));
  log.info({}, end === 'leave' ? 'leaving: modules go on' : 'stopping: modules end');
  await (end === 'leave' ? node.leave() : node.stop());
}

/** V8's young generation grows to 16 MB and more under load and stays so: the agent does without, and with 14 MB less. */
function keepYoungHeapSmall(): void {
  setFlagsFromString('--semi-space-growth-factor=1');
}

function program(): Command {
  const loamlet = new Command('loamlet')
    .description('A kubelet for WebAssembly, small enough for a Raspberry Pi.')
    .version(version, '-V, --version')
    .showHelpAfterError('(loamlet --help shows what there is)')
    .showSuggestionAfterError()
    .exitOverride();
  loamlet
    .command('node')
    .description('Run the node agent: join the cluster of the config, or run a folder of static pods on its own.')
    .addOption(new Option('-c, --config <file>', 'the node config').default(defaultConfigPath))
    .addHelpText('after', '\nSIGTERM ends the agent alone, modules go on; Ctrl-C and loamlet stop end both.')
    .action((options: { config: string }) => runNode(options.config));
  registerStatus(loamlet);
  registerRun(loamlet);
  registerImages(loamlet);
  return loamlet;
}

function fail(error: unknown): void {
  if (error instanceof CommanderError) {
    // Commander has printed its own line, or the help.
    process.exitCode = error.exitCode === 0 ? 0 : exitMisuse;
    return;
  }
  complain(error);
  process.exitCode = 1;
}

function complain(error: unknown): void {
  process.stderr.write(`error: ${errorLine(error)}\n`);
  // What we did not raise on purpose is ours to find: with its stack for those who ask.
  if (!(error instanceof LoamletError) && process.env.LOAMLET_DEBUG !== undefined && error instanceof Error) {
    process.stderr.write(`${error.stack}\n`);
  }
}

// Nobody handles it, so nothing can be relied on any more: the agent goes, modules go on, the next agent adopts them.
process.on('uncaughtException', (error) => {
  complain(error);
  process.exit(exitBroken);
});

/** Flags, JSPI and addons belong to one version of Node: under another one they fail in ways nobody understands. */
function checkNode(): void {
  if (process.versions.node.startsWith('26.')) return;
  process.stderr.write(`error: loamlet needs Node.js 26, this is ${process.versions.node}: run scripts/loamlet\n`);
  process.exit(1);
}

// A reader that has gone away (`loamlet status | head`) is no error of ours.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit();
  throw error;
});

checkNode();
await program().parseAsync(process.argv).catch(fail);
