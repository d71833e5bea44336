/** `loamlet run` on the command line. What it needs is loaded when it runs. */
import { InvalidArgumentError, type Command } from 'commander';
import { parseQuantity } from './base/quantity.ts';

interface Flags {
  readonly env?: readonly string[];
  readonly device?: readonly string[];
  readonly publish?: readonly string[];
  readonly mqtt?: string;
  readonly memory: number;
}

/** Adds `run` to the command line. Its exit code is the module's own; 134 for a trap, 1 for a refusal. */
export function registerRun(program: Command): void {
  program.enablePositionalOptions();
  program
    .command('run')
    .description('Run one module here and now. Its exit code is the exit code; 134 is a trap.')
    .argument('<module>', 'a .wasm file')
    .argument('[args...]', 'arguments of the module')
    .passThroughOptions()
    .option('--env <K=V>', 'set a variable of its environment (repeatable)', collectEnv)
    .option(
      '--device <NAME=DRIVER:...>',
      'grant it a device under a name (repeatable): soil-moisture=simulated',
      collect,
    )
    .option(
      '--publish <filter>',
      'let it publish to these topics (repeatable) instead of a prefix of its own',
      collectFilter,
    )
    .option('--mqtt <url>', 'publish to this broker, mqtt:// or mqtts://; without it publishes are printed on stderr')
    .option('--memory <bytes>', 'the most memory it gets: 64Mi', memory, 64 * 2 ** 20)
    .action(async (module: string, args: readonly string[], flags: Flags) => {
      const { respawned } = await import('./run/respawn.ts');
      const code = await respawned();
      if (code !== undefined) {
        process.exitCode = code;
        return;
      }
      const { run } = await import('./run.ts');
      process.exitCode = await run({
        module,
        args,
        env: flags.env ?? [],
        devices: flags.device ?? [],
        publish: flags.publish ?? [],
        memoryLimitBytes: flags.memory,
        ...(flags.mqtt === undefined ? {} : { mqtt: flags.mqtt }),
      });
    });
}

function collect(value: string, before: readonly string[] = []): readonly string[] {
  return [...before, value];
}

function collectEnv(value: string, before: readonly string[] = []): readonly string[] {
  if (!/^[^=\0]+=[^\0]*$/s.test(value)) throw new InvalidArgumentError('write it as NAME=VALUE');
  return [...before, value];
}

function collectFilter(value: string, before: readonly string[] = []): readonly string[] {
  if (
    !/^(?:[^#+]*|(?:[^/#+]+|\+)?(?:\/(?:[^/#+]*|\+))*(?:\/#)?|#)$/.test(value) ||
    value === '' ||
    value.startsWith('$')
  ) {
    throw new InvalidArgumentError('this is no MQTT topic filter: write it like garden/#, garden/+/moisture');
  }
  return [...before, value];
}

function memory(value: string): number {
  const bytes = parseQuantity(value);
  if (bytes === undefined || bytes < 65_536) throw new InvalidArgumentError('write it as 64Mi, 64Ki at least');
  return bytes;
}
