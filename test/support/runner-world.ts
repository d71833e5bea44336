import { createHash } from 'node:crypto';
import { chmod, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { emptyGrant, type Grant } from '../../hostcalls/grant.ts';
import { Precompiler } from '../../src/precompile/precompiler.ts';
import { RunnerClient, type RunnerNews, type RunnerReceiver } from '../../src/runner/client.ts';
import type { ContainerExit, ContainerStart, LogEntry, PublishItem, PublishResult } from '../../src/runner/protocol.ts';
import { tempFolder } from './temp-folder.ts';
import { TestLog } from './test-log.ts';

/** Keeps all that a runner says, and lets tests wait for it. */
export class TestReceiver implements RunnerReceiver {
  readonly messages: RunnerNews[] = [];
  readonly devices: { name: string; healthy: boolean; message: string }[] = [];
  readonly published: { item: PublishItem; text: string }[] = [];
  readonly #logs = new Map<string, string>();
  #waiters: (() => void)[] = [];
  /** Answers publishes; by default all are committed. */
  answer: (items: readonly PublishItem[]) => Promise<readonly PublishResult[]> = async (items) =>
    items.map(({ publishNo }) => ({ publishNo }));
  /** Held before log frames count as written. */
  gate: Promise<void> = Promise.resolve();

  news(message: RunnerNews): void {
    this.messages.push(message);
    this.#changed();
  }

  async logs(pieces: readonly { entry: LogEntry; bytes: Uint8Array }[]): Promise<void> {
    for (const { entry, bytes } of pieces) {
      const key = `${entry.id} ${entry.stream}`;
      this.#logs.set(key, (this.#logs.get(key) ?? '') + Buffer.from(bytes).toString());
    }
    this.#changed();
    await this.gate;
  }

  publishes(
    _runner: string,
    published: readonly { item: PublishItem; payload: Uint8Array }[],
  ): Promise<readonly PublishResult[]> {
    for (const { item, payload } of published) this.published.push({ item, text: Buffer.from(payload).toString() });
    this.#changed();
    return this.answer(published.map(({ item }) => item));
  }

  device(name: string, healthy: boolean, message: string): void {
    this.devices.push({ name, healthy, message });
    this.#changed();
  }

  text(id: string, stream: 'stdout' | 'stderr' = 'stdout'): string {
    return this.#logs.get(`${id} ${stream}`) ?? '';
  }

  /** Resolves when `found` finds something in what has been said so far or will be. */
  async until<T>(found: () => T | undefined | false): Promise<T> {
    for (;;) {
      const result = found();
      if (result !== undefined && result !== false) return result;
      await new Promise<void>((resolve) => this.#waiters.push(resolve));
    }
  }

  heard<Type extends RunnerNews['type']>(id: string, type: Type): Promise<Extract<RunnerNews, { type: Type }>> {
    return this.until(() =>
      this.messages.find(
        (message): message is Extract<RunnerNews, { type: Type }> => message.id === id && message.type === type,
      ),
    );
  }

  async exit(id: string): Promise<Pick<ContainerExit, 'exitCode' | 'reason' | 'message'>> {
    const { exitCode, reason, message } = await this.heard(id, 'exited');
    return { exitCode, reason, message };
  }

  #changed(): void {
    for (const wake of this.#waiters.splice(0)) wake();
  }
}

/** A runner process of a test, with the modules it runs. Everything ends with it. */
export class RunnerWorld implements AsyncDisposable {
  readonly folder: string;
  readonly log = new TestLog();
  receiver = new TestReceiver();
  client!: RunnerClient;
  readonly #parts = new AsyncDisposableStack();
  readonly #precompiler: Precompiler;
  #runs = 0;

  private constructor(folder: string, precompiler: Precompiler) {
    this.folder = folder;
    this.#precompiler = precompiler;
  }

  static async open(options: { unresponsiveMs?: number; user?: string } = {}): Promise<RunnerWorld> {
    const folder = await tempFolder();
    await chmod(folder.path, 0o755); // for a runner that is another user
    const world = new RunnerWorld(folder.path, await Precompiler.open({ directory: join(folder.path, 'modules') }));
    world.#parts.use(folder);
    try {
      world.client = await RunnerClient.launch({ directory: folder.path, log: world.log.log, ...options });
    } catch (error) {
      await folder[Symbol.asyncDispose]();
      throw error;
    }
    world.#parts.defer(async () => {
      world.client.kill();
      await world.client[Symbol.asyncDispose]();
    });
    return world;
  }

  listen(): this {
    this.client.listen(this.receiver);
    return this;
  }

  /** The agent goes away and another comes. */
  async adopt(): Promise<void> {
    const { record } = this.client;
    await this.client[Symbol.asyncDispose]();
    this.receiver = new TestReceiver();
    this.client = await RunnerClient.adopt(record, { directory: this.folder, log: this.log.log });
  }

  async container(module: string | Uint8Array, options: Partial<ContainerStart> = {}): Promise<ContainerStart> {
    const bytes = typeof module === 'string' ? await readFile(module) : module;
    const hash = createHash('sha256').update(bytes).digest('hex');
    const path = join(this.folder, `${hash}.source.wasm`);
    await writeFile(path, bytes);
    const { path: modulePath, digest } = await this.#precompiler.precompile(
      path,
      `sha256:${hash}`,
      AbortSignal.timeout(60_000),
    );
    const grant: Grant = emptyGrant;
    return {
      id: `run-${++this.#runs}`,
      name: 'default/test/main',
      modulePath,
      moduleDigest: digest,
      args: ['module'],
      env: [],
      memoryLimitBytes: 16 << 20,
      grant,
      ...options,
    };
  }

  /** Starts it and returns its id. */
  async start(module: string | Uint8Array, options?: Partial<ContainerStart>): Promise<string> {
    const container = await this.container(module, options);
    this.client.start(container);
    return container.id;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#parts.disposeAsync();
  }
}
