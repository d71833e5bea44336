import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { askAgent } from '../../src/observe/admin-socket.ts';
import type { NodeStatus } from '../../src/observe/node-status.ts';
import { start, type Running } from '../lib/processes.ts';

const bundle = new URL('../../dist/loamlet.mjs', import.meta.url).pathname;

/** `loamlet node` from the shipped bundle. Disposing stops it and its runner. */
export class AgentProcess implements AsyncDisposable {
  readonly #running: Running;
  readonly #runDirectory: string;
  readonly #lines: string[];

  private constructor(running: Running, runDirectory: string, lines: string[]) {
    this.#running = running;
    this.#runDirectory = runDirectory;
    this.#lines = lines;
  }

  /** @param config beside what names the folders */
  static async start(folder: string, config: object): Promise<AgentProcess> {
    await mkdir(folder);
    const file = join(folder, 'config.yaml');
    const runDirectory = join(folder, 'run');
    const folders = { stateDirectory: join(folder, 'state'), runDirectory, logDirectory: join(folder, 'logs') };
    await writeFile(file, stringify({ apiVersion: 'loamlet.dev/v1alpha1', kind: 'NodeConfig', ...folders, ...config }));
    const lines: string[] = [];
    const running = start(process.execPath, [bundle, 'node', '--config', file], {
      onLine: (line) => {
        lines.push(line);
        if (lines.length > 100) lines.shift();
      },
    });
    return new AgentProcess(running, runDirectory, lines);
  }

  get pid(): number {
    return this.#running.child.pid ?? 0;
  }

  /** What it wrote last. */
  get lastLine(): string {
    return this.#lines.at(-1) ?? '';
  }

  async runnerPid(): Promise<number> {
    const { runner } = (await askAgent(this.#runDirectory, 'GET', '/status')) as NodeStatus;
    if (runner.pid === undefined) throw new Error('the node has no runner');
    return runner.pid;
  }

  [Symbol.asyncDispose](): PromiseLike<void> {
    return this.#running[Symbol.asyncDispose]();
  }
}
