import { join } from 'node:path';
import type { Grant } from '../../hostcalls/grant.ts';
import { createLogger, type Logger } from '../../src/observe/logger.ts';
import type { PrecompiledModule } from '../../src/precompile/precompiler.ts';
import { RunnerClient, type RunnerReceiver } from '../../src/runner/client.ts';

/**
 * The agent's end of a real runner process, which ends with this scope, or with this process when it is told to.
 * Log bytes are dropped, but for those of stderr.
 */
export class RunnerWorld implements AsyncDisposable {
  readonly client: RunnerClient;
  readonly log: Logger;
  readonly #started = new Set<string>();
  #wanted = 0;
  #allStarted: (() => void) | undefined;
  /** What went wrong, if something did. */
  trouble = '';

  private constructor(client: RunnerClient, log: Logger) {
    this.client = client;
    this.log = log;
  }

  static async open(folder: string, publishes: RunnerReceiver['publishes']): Promise<RunnerWorld> {
    const log = createLogger({ level: 'warn' });
    const client = await RunnerClient.launch({ directory: join(folder, 'run'), log });
    const world = new RunnerWorld(client, log);
    process.once('SIGTERM', () => {
      client.kill();
      process.exit(143);
    });
    client.listen({
      news(message) {
        if (message.type === 'startFailed' || message.type === 'exited') world.trouble ||= message.message;
        else world.#hasStarted(message.id);
      },
      logs(pieces) {
        for (const { entry, bytes } of pieces)
          if (entry.stream === 'stderr') world.trouble ||= Buffer.from(bytes).toString();
        return Promise.resolve();
      },
      publishes,
      device() {},
    });
    return world;
  }

  get pid(): number {
    return this.client.record.pid;
  }

  /** Starts containers `from` to `to`; resolves when all run. */
  start(module: PrecompiledModule, from: number, to: number, args: readonly string[], grant: Grant): Promise<void> {
    this.#wanted = to;
    const done = new Promise<void>((resolve) => (this.#allStarted = resolve));
    for (let n = from; n < to; n++) {
      this.client.start({
        id: `bench-${n}`,
        name: `bench/pod-${n}/module`,
        modulePath: module.path,
        moduleDigest: module.digest,
        args,
        env: [],
        memoryLimitBytes: 64 << 20,
        grant,
      });
    }
    return done;
  }

  #hasStarted(id: string): void {
    this.#started.add(id);
    if (this.#started.size === this.#wanted) this.#allStarted?.();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // A runner does not keep its agent alive, and we want to see it end.
    const alive = setInterval(() => {}, 1_000);
    this.client.kill();
    await this.client.closed;
    clearInterval(alive);
  }
}
