import { Option, type Command } from 'commander';
import type { RegistryOptions } from './registry.ts';

interface RegistryFlags {
  readonly plainHttp?: boolean;
  readonly caFile?: string;
  readonly dockerConfig?: string;
}

/** `loamlet push` and `loamlet pull`. What they need is loaded when they run. */
export function registerImages(program: Command): void {
  withRegistryFlags(program.command('push'))
    .description('Push a module to an OCI registry and print its reference by digest.')
    .argument('<module>', 'a .wasm file')
    .argument('<reference>', 'where to: registry.example:5000/name:tag')
    .action((module: string, reference: string, flags: RegistryFlags) =>
      untilInterrupted(async (signal) => {
        const { pushModule } = await import('./push.ts');
        const { imageId } = await pushModule(module, reference, await registryOptions(reference, flags), signal);
        process.stdout.write(`${imageId}\n`);
      }),
    );
  withRegistryFlags(program.command('pull'))
    .description('Pull a module from an OCI registry, check its digests and write it to a file.')
    .argument('<reference>', 'what: registry.example:5000/name:tag or registry.example/name@sha256:...')
    .option('-o, --output <file>', 'where to write it (default: <name>.wasm in this folder)')
    .action((reference: string, flags: RegistryFlags & { readonly output?: string }) =>
      untilInterrupted(async (signal) => {
        const { pullToFile } = await import('./pull-to-file.ts');
        const { path, imageId } = await pullToFile(
          reference,
          flags.output,
          await registryOptions(reference, flags),
          signal,
        );
        process.stdout.write(`${path} ${imageId}\n`);
      }),
    );
}

function withRegistryFlags(command: Command): Command {
  return command
    .option('--plain-http', 'speak HTTP without TLS to the registry (on this machine it always is)')
    .option('--ca-file <file>', "PEM of the certificate authority of the registry's certificate")
    .addOption(
      new Option(
        '--docker-config <file>',
        'docker config.json with credentials (default: ~/.docker/config.json, if there is one)',
      ),
    );
}

async function registryOptions(reference: string, flags: RegistryFlags): Promise<RegistryOptions> {
  const { existsSync, readFileSync } = await import('node:fs');
  const { homedir } = await import('node:os');
  const { join } = await import('node:path');
  const { parseReference } = await import('./reference.ts');
  const usual = join(process.env.DOCKER_CONFIG ?? join(homedir(), '.docker'), 'config.json');
  const dockerConfig = flags.dockerConfig ?? (existsSync(usual) ? usual : undefined);
  return {
    ...(flags.plainHttp === true ? { insecureRegistries: [parseReference(reference).registry] } : {}),
    ...(flags.caFile === undefined ? {} : { ca: readFileSync(flags.caFile, 'utf8') }),
    ...(dockerConfig === undefined ? {} : { dockerConfig }),
  };
}

/** Runs a command that Ctrl-C aborts, so that nothing half-written stays behind. */
async function untilInterrupted(command: (signal: AbortSignal) => Promise<void>): Promise<void> {
  const abort = new AbortController();
  const interrupt = (): void => abort.abort(new Error('interrupted'));
  process.once('SIGINT', interrupt).once('SIGTERM', interrupt);
  try {
    await command(abort.signal);
  } finally {
    process.off('SIGINT', interrupt).off('SIGTERM', interrupt);
  }
}
