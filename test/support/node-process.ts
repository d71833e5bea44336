import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { askAgent } from '../../src/observe/admin-socket.ts';
import type { NodeStatus, PodLine } from '../../src/observe/node-status.ts';
import { StateFolder } from './state-folder.ts';
import { until } from './until.ts';

const bundle = new URL('../../dist/loamlet.mjs', import.meta.url).pathname;

/** Runs the shipped command line to its end. */
export async function loamlet(
  args: readonly string[],
  env: NodeJS.ProcessEnv = process.env,
): Promise<{ code: number; stdout: string; stderr: string }> {
  const child = spawn(process.execPath, [bundle, ...args], { stdio: ['ignore', 'pipe', 'pipe'], env });
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (part: Buffer) => (stdout += part.toString()));
  child.stderr.on('data', (part: Buffer) => (stderr += part.toString()));
  const code = await new Promise<number>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (exit, signal) => resolve(exit ?? (signal === 'SIGKILL' ? 137 : 143)));
  });
  return { code, stdout, stderr };
}

/** A node in folders of its own, run by the shipped bundle; ends with every module it started. */
export class NodeProcess implements AsyncDisposable {
  readonly #folder = new StateFolder();
  #child: ChildProcess | undefined;
  /** What the agents of this node wrote, for a failing test. */
  log = '';

  /** @param config beside what names the folders */
  static async start(config: Readonly<Record<string, unknown>>): Promise<NodeProcess> {
    const node = new NodeProcess();
    mkdirSync(node.manifests);
    node.configure(config);
    try {
      await node.start();
    } catch (error) {
      await node[Symbol.asyncDispose]();
      throw error;
    }
    return node;
  }

  get configFile(): string {
    return this.#folder.file('config.yaml');
  }

  get manifests(): string {
    return this.#folder.file('manifests');
  }

  get logDirectory(): string {
    return this.#folder.file('logs');
  }

  get stateDirectory(): string {
    return this.#folder.file('state');
  }

  get runDirectory(): string {
    return this.#folder.file('run');
  }

  get pid(): number {
    return this.#child?.pid ?? 0;
  }

  /** In force from the next `start`. */
  configure(config: Readonly<Record<string, unknown>>): void {
    const whole = {
      apiVersion: 'loamlet.dev/v1alpha1',
      kind: 'NodeConfig',
      nodeName: 'loam-1',
      stateDirectory: this.stateDirectory,
      runDirectory: this.runDirectory,
      logDirectory: this.logDirectory,
      staticPodDirectory: this.manifests,
      ...config,
    };
    writeFileSync(this.configFile, stringify(whole));
  }

  /** Starts the agent; resolves when it answers. @throws Error with its last line when it ends instead */
  async start(): Promise<void> {
    const child = spawn(process.execPath, [bundle, 'node', '--config', this.configFile], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    this.#child = child;
    child.stderr?.on('data', (part: Buffer) => (this.log += part.toString()));
    await until('the agent answers', async () => {
      if (child.exitCode !== null)
        throw new Error(`the agent ended with ${child.exitCode}: ${this.log.trim().split('\n').at(-1)}`, {
          cause: 'final',
        });
      return (await this.status()).runner.pid !== undefined;
    });
  }

  /** Puts a static pod into the folder, or replaces it. */
  apply(name: string, manifest: unknown): void {
    const file = join(this.manifests, `${name}.json`);
    writeFileSync(`${file}.new`, JSON.stringify(manifest));
    renameSync(`${file}.new`, file);
  }

  remove(name: string): void {
    rmSync(join(this.manifests, `${name}.json`));
  }

  async status(): Promise<NodeStatus> {
    return (await askAgent(this.runDirectory, 'GET', '/status')) as NodeStatus;
  }

  /** Resolves when the pod is as wanted. */
  async pod(name: string, what: string, wanted: (pod: PodLine) => boolean): Promise<PodLine> {
    let found: PodLine | undefined;
    await until(
      `pod ${name} is ${what}`,
      async () => {
        found = (await this.status()).pods.find((pod) => pod.name === name);
        return found !== undefined && wanted(found);
      },
      () => `${JSON.stringify(found)}\n${this.log}`,
    );
    return found as PodLine;
  }

  /** Sends the agent a signal and waits for its end. Resolves to its exit code. */
  async signal(signal: NodeJS.Signals): Promise<number> {
    const child = this.#child;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return child?.exitCode ?? 0;
    const ended = new Promise<number>((resolve) => child.once('exit', (code) => resolve(code ?? 137)));
    child.kill(signal);
    return ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const child = this.#child;
    const running = child !== undefined && child.exitCode === null && child.signalCode === null;
    // An agent that left or was killed has left its runner behind: one more agent ends it.
    if (!running && existsSync(join(this.stateDirectory, 'loamlet.db'))) await this.start().catch(() => {});
    await this.signal('SIGINT');
    this.#folder[Symbol.dispose]();
  }
}
