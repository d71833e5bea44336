import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { askAgent } from '../../src/observe/admin-socket.ts';
import type { NodeStatus } from '../../src/observe/node-status.ts';
import { eventually } from '../lib/demo-world.ts';
import { start, type Running } from '../lib/processes.ts';

const bundle = new URL('../../dist/loamlet.mjs', import.meta.url).pathname;

/** `loamlet node` from the shipped bundle. Disposing stops it and its runner. */
export class AgentProcess implements AsyncDisposable {
  readonly #configFile: string;
  readonly #runDirectory: string;
  #running!: Running;
  #lastLine = '';

  private constructor(configFile: string, runDirectory: string) {
    this.#configFile = configFile;
    this.#runDirectory = runDirectory;
  }

  /** @param config beside what names the folders */
  static async start(folder: string, config: object): Promise<AgentProcess> {
    await mkdir(folder);
    const file = join(folder, 'config.yaml');
    const runDirectory = join(folder, 'run');
    const folders = { stateDirectory: join(folder, 'state'), runDirectory, logDirectory: join(folder, 'logs') };
    await writeFile(file, stringify({ apiVersion: 'loamlet.dev/v1alpha1', kind: 'NodeConfig', ...folders, ...config }));
    const agent = new AgentProcess(file, runDirectory);
    agent.#start();
    return agent;
  }

  #start(): void {
    this.#running = start(process.execPath, [bundle, 'node', '--config', this.#configFile], {
      onLine: (line) => void (this.#lastLine = line),
    });
  }

  /** The agent leaves its runner, and a new one takes it over. */
  async restart(): Promise<void> {
    this.#running.child.kill('SIGTERM');
    await this.#running.ended;
    this.#start();
  }

  get pid(): number {
    return this.#running.child.pid ?? 0;
  }

  /** What it wrote last. */
  get lastLine(): string {
    return this.#lastLine;
  }

  /** Waits for the agent to answer. */
  runnerPid(signal: AbortSignal): Promise<number> {
    return eventually('the agent', 30, signal, async () => {
      const { runner } = (await askAgent(this.#runDirectory, 'GET', '/status')) as NodeStatus;
      if (runner.pid === undefined) throw new Error('the node has no runner');
      return runner.pid;
    });
  }

  [Symbol.asyncDispose](): PromiseLike<void> {
    return this.#running[Symbol.asyncDispose]();
  }
}
