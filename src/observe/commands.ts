import { Option, type Command } from 'commander';
import { defaultConfigPath } from '../config/load.ts';
import { answers, askAgent } from './admin-socket.ts';
import { formatStatus, type NodeStatus } from './node-status.ts';

const pollMs = 50;

/** `loamlet status` and `loamlet stop`: what a person asks of the agent on this machine. */
export function registerStatus(program: Command): void {
  const config = (): Option => new Option('-c, --config <file>', 'the node config').default(defaultConfigPath);
  program
    .command('status')
    .description('Show what the node agent of this machine runs: pods, devices, outbox, broker.')
    .addOption(config())
    .addOption(new Option('-o, --output <format>', 'how to print it').choices(['table', 'json']).default('table'))
    .action(async (options: { config: string; output: string }) => {
      const status = (await askAgent(await runDirectoryOf(options.config), 'GET', '/status')) as NodeStatus;
      process.stdout.write(options.output === 'json' ? `${JSON.stringify(status, null, 2)}\n` : formatStatus(status));
    });
  program
    .command('stop')
    .description('Stop the node agent of this machine and every module it runs.')
    .addOption(config())
    .action(async (options: { config: string }) => {
      const runDirectory = await runDirectoryOf(options.config);
      await askAgent(runDirectory, 'POST', '/stop');
      await goneFrom(runDirectory);
    });
}

async function runDirectoryOf(configPath: string): Promise<string> {
  const [{ loadConfig }, { parseDevice }] = await Promise.all([
    import('../config/load.ts'),
    import('../../devices/catalog.ts'),
  ]);
  return loadConfig(configPath, parseDevice).runDirectory;
}

/** Resolves when nobody answers there any more: closing its socket is the last thing an agent does. */
async function goneFrom(runDirectory: string): Promise<void> {
  const { setTimeout: delay } = await import('node:timers/promises');
  // Asked again and again, and not watched: an agent that is killed meanwhile leaves its socket.
  while (await answers(runDirectory)) await delay(pollMs);
}
