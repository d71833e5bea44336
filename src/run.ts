/** Composition root of `loamlet run`: runner, devices and host calls in one process, and an outbox in memory. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { homedir, tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { DeviceHub } from '../devices/hub.ts';
import { LinuxBuses } from '../devices/linux/i2c.ts';
import { hostInterfaces } from '../hostcalls/interfaces.ts';
import type { Publisher } from '../hostcalls/messaging.ts';
import { errorLine, LoamletError, systemCode } from './base/errors.ts';
import { Precompiler, type PrecompiledModule } from './precompile/precompiler.ts';
import { grantOf } from './run/grant.ts';
import { BrokerPublisher, PrintingPublisher } from './run/publisher.ts';
import { ProcessInput, ProcessOutput } from './run/streams.ts';
import { Container } from './runner/container.ts';
import { Executor } from './runner/executor.ts';
import { Modules } from './runner/modules.ts';
import type { ContainerExit } from './runner/protocol.ts';

export interface RunOptions {
  readonly module: string;
  readonly args: readonly string[];
  /** `NAME=VALUE`. */
  readonly env: readonly string[];
  /** As `parseDeviceArgument` reads them. */
  readonly devices: readonly string[];
  /** MQTT topic filters; none: a prefix of its own. */
  readonly publish: readonly string[];
  /** Without a broker publishes are printed. */
  readonly mqtt?: string;
  readonly memoryLimitBytes: number;
}

/** How long a module that knows it is being stopped has for it, in milliseconds. */
const graceMs = 10_000;
const signalCodes = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 } as const;
const brokenPipe = 141;

/**
 * Runs one module to its end with the streams and signals of this process, and resolves to its exit code.
 * @throws LoamletError when it is refused: not a module, a device that does not answer, a broker that does not let us in
 */
export async function run(options: RunOptions): Promise<number> {
  await using parts = new AsyncDisposableStack();
  const ending = new AbortController();
  // Taken before anything is opened: an early Ctrl-C must end what has begun.
  let signalCode: number | undefined;
  let onSignal = (): void => ending.abort(new LoamletError('Interrupted', 'operator', 'interrupted'));
  for (const [signal, code] of Object.entries(signalCodes)) {
    const listener = (): void => {
      signalCode ??= code;
      process.send?.('heard');
      onSignal();
    };
    process.on(signal, listener);
    parts.defer(() => void process.off(signal, listener));
  }
  // Started for this only: without the one who started us there is nobody to run for.
  process.channel?.unref();
  process.once('disconnect', () => process.kill(process.pid, 'SIGKILL'));
  try {
    const module = await precompile(options.module, parts, ending.signal);
    const grant = grantOf(options.module, options.devices, options.publish);
    const output = new ProcessOutput(() => {
      signalCode ??= brokenPipe;
      container?.kill();
    });
    const publisher = await openPublisher(options.mqtt, parts, output);
    const devices = parts.use(
      new DeviceHub({
        buses: new LinuxBuses(),
        onHealth: (name, healthy, message) => say(output, healthy ? `${name} answers again` : `${name}: ${message}`),
      }),
    );
    const input = parts.use(new ProcessInput());
    const host = {
      executor: new Executor(hostInterfaces({ devices, publisher })),
      modules: new Modules(),
      devices,
    };
    let exit: ContainerExit | undefined;
    let refused: LoamletError | undefined;
    const container: Container = new Container(
      {
        id: 'run',
        name: basename(options.module),
        modulePath: module.path,
        moduleDigest: module.digest,
        args: [basename(options.module), ...options.args],
        env: options.env,
        memoryLimitBytes: options.memoryLimitBytes,
        grant,
      },
      host,
      {
        started() {},
        ready() {},
        startFailed: (code, message) => (refused = new LoamletError(code, 'operator', message)),
        exited: (ended) => (exit = ended),
      },
    );
    let stoppedAtMs = -Infinity;
    onSignal = () => {
      const nowMs = performance.now();
      // A terminal's Ctrl-C reaches us from itself and from the process that started us; a second one means now.
      if (stoppedAtMs === -Infinity) container.stop(graceMs);
      else if (nowMs - stoppedAtMs > 300) container.kill();
      else return;
      stoppedAtMs = nowMs;
    };
    if (ending.signal.aborted) return signalCode!;
    await container.start({ output, input });
    await container.ended;
    if (signalCode !== undefined) return signalCode;
    if (refused) throw refused;
    if (exit!.message !== '') say(output, exit!.message);
    return exit!.exitCode;
  } catch (error) {
    if (signalCode !== undefined) return signalCode;
    throw error;
  }
}

async function precompile(path: string, parts: AsyncDisposableStack, signal: AbortSignal): Promise<PrecompiledModule> {
  const hash = createHash('sha256');
  try {
    await pipeline(createReadStream(path), hash, { signal });
  } catch (cause) {
    signal.throwIfAborted();
    const why = { ENOENT: 'there is no such file', EISDIR: 'it is a folder', EACCES: 'it may not be read' }[
      systemCode(cause) ?? ''
    ];
    throw new LoamletError('BadModuleFile', 'operator', `${path} can't be read: ${why ?? errorLine(cause)}`, { cause });
  }
  const precompiler = await openPrecompiler(parts);
  return await precompiler.precompile(path, `sha256:${hash.digest('hex')}`, signal);
}

/** A user without a place for caches gets one for this run. */
async function openPrecompiler(parts: AsyncDisposableStack): Promise<Precompiler> {
  try {
    return await Precompiler.open({
      directory: join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'loamlet', 'modules'),
    });
  } catch {
    const directory = await mkdtemp(join(tmpdir(), 'loamlet-'));
    parts.defer(() => rm(directory, { recursive: true, force: true }));
    return await Precompiler.open({ directory });
  }
}

async function openPublisher(
  url: string | undefined,
  parts: AsyncDisposableStack,
  output: ProcessOutput,
): Promise<Publisher> {
  if (url === undefined) return new PrintingPublisher((line) => output.write('stderr', Buffer.from(line)));
  const [{ DirectPublisher }, { createLogger }] = await Promise.all([
    import('./mqtt/direct-publisher.ts'),
    import('./observe/logger.ts'),
  ]);
  return new BrokerPublisher(parts.use(await DirectPublisher.open({ url }, createLogger({ level: 'silent' }))));
}

function say(output: ProcessOutput, line: string): void {
  output.write('stderr', Buffer.from(`loamlet: ${line}\n`));
}
