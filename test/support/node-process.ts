import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished } from 'vitest';
import { stringify } from 'yaml';
import { askAgent } from '../../src/observe/admin-socket.ts';
import type { NodeStatus, PodLine } from '../../src/observe/node-status.ts';
import { killProcessesOf, processesOf } from './processes-of.ts';
import { StateFolder } from './state-folder.ts';
import { until } from './until.ts';

/** What is tested: the bundle of this checkout, or the one that LOAMLET_BUNDLE names. */
const bundle = process.env.LOAMLET_BUNDLE ?? new URL('../../dist/loamlet.mjs', import.meta.url).pathname;

export interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs the shipped command line to its end. @param user for root: who runs it */
export async function loamlet(args: readonly string[], user: { readonly uid?: number } = {}): Promise<Ended> {
  const child = spawn(process.execPath, [bundle, ...args], { stdio: ['ignore', 'pipe', 'pipe'], ...user });
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

/**
 * A node in folders of its own, run by the shipped bundle. It ends with the scope, or with its test at the latest, and
 * nothing of it is left: neither a process nor a file.
 */
export class NodeProcess implements AsyncDisposable {
  readonly #folder = new StateFolder();
  #child: ChildProcess | undefined;
  #disposed: Promise<void> | undefined;
  /** What the agents of this node wrote. */
  log = '';

  private constructor() {
    // A test that fails by its time limit never leaves its scope.
    onTestFinished(() => this[Symbol.asyncDispose]());
  }

  /** @param config beside what names the folders */
  static prepare(config: Readonly<Record<string, unknown>> = {}): NodeProcess {
    const node = new NodeProcess();
    mkdirSync(node.manifests);
    node.configure(config);
    return node;
  }

  /** As `prepare`, with its agent running. */
  static async start(config: Readonly<Record<string, unknown>> = {}): Promise<NodeProcess> {
    const node = NodeProcess.prepare(config);
    try {
      await node.start();
    } catch (error) {
      await node[Symbol.asyncDispose]();
      throw error;
    }
    return node;
  }

  get folder(): string {
    return this.#folder.path;
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

  /** Starts the agent and does not wait for it. Resolves to its exit code when it has ended. */
  launch(): { readonly child: ChildProcess; readonly ended: Promise<number> } {
    const child = spawn(process.execPath, [bundle, 'node', '--config', this.configFile], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#child = child;
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (part: Buffer) => (this.log += part.toString()));
    const ended = new Promise<number>((resolve) => {
      child.once('close', (code, signal) => resolve(code ?? (signal === 'SIGKILL' ? 137 : 143)));
    });
    return { child, ended };
  }

  /** Starts the agent; resolves when it runs. @throws Error with its last line when it ends instead */
  async start(): Promise<void> {
    const before = this.log.length;
    const { child } = this.launch();
    await until(
      'the agent runs',
      () => {
        if (child.exitCode !== null || child.signalCode !== null)
          throw new Error(`the agent ended with ${child.exitCode}: ${this.log.trim().split('\n').at(-1)}`, {
            cause: 'final',
          });
        return this.log.slice(before).includes('"loamlet runs"');
      },
      () => this.log,
    );
  }

  /** The command line with this node's config. */
  command(command: string, ...more: readonly (string | { readonly uid: number })[]): Promise<Ended> {
    const args = more.filter((part) => typeof part === 'string');
    return loamlet(
      [command, ...args, '--config', this.configFile],
      more.find((part) => typeof part === 'object'),
    );
  }

  /** Whoever read what the agent writes has gone away. */
  closeOutput(): void {
    this.#child?.stdout?.destroy();
    this.#child?.stderr?.destroy();
  }

  /** Puts a static pod into the folder, or replaces it. */
  apply(manifest: { readonly metadata: { readonly name: string }; readonly spec?: unknown }): void {
    const file = join(this.manifests, `${manifest.metadata.name}.json`);
    writeFileSync(`${file}.new`, JSON.stringify(manifest));
    renameSync(`${file}.new`, file);
  }

  remove(name: string): void {
    rmSync(join(this.manifests, `${name}.json`));
  }

  async status(): Promise<NodeStatus> {
    return (await askAgent(this.runDirectory, 'GET', '/status')) as NodeStatus;
  }

  /** Resolves when the node is as wanted. */
  async until(what: string, wanted: (status: NodeStatus) => boolean): Promise<NodeStatus> {
    let found: NodeStatus | undefined;
    await until(
      what,
      async () => wanted((found = await this.status())),
      () => `${JSON.stringify(found)}\n${this.log}`,
    );
    return found as NodeStatus;
  }

  /** Resolves when the pod is as wanted. */
  async pod(name: string, what: string, wanted: (pod: PodLine) => boolean): Promise<PodLine> {
    let found: PodLine | undefined;
    await this.until(`pod ${name} is ${what}`, ({ pods }) => {
      found = pods.find((pod) => pod.name === name);
      return found !== undefined && wanted(found);
    });
    return found as PodLine;
  }

  running(name: string): Promise<PodLine> {
    return this.pod(name, 'running', ({ ready, phase }) => phase === 'Running' && /^([1-9]\d*)\/\1$/.test(ready));
  }

  async runnerPid(): Promise<number> {
    const { runner } = await this.until('there is a runner', ({ runner }) => runner.pid !== undefined);
    return runner.pid ?? 0;
  }

  /** Folders of log files, one for each version of the pod. */
  logFolders(pod: string): string[] {
    if (!existsSync(this.logDirectory)) return [];
    return readdirSync(this.logDirectory).filter((name) => name.split('_')[1] === pod);
  }

  /** The log file of one run of a pod's container `c`, in the kubelet's format; empty while there is none. */
  logFile(pod: string, restart = 0): string {
    const [folder, other] = this.logFolders(pod);
    if (other !== undefined) throw new Error(`${pod} has several log folders`);
    const file = join(this.logDirectory, folder ?? '-', 'c', `${restart}.log`);
    return existsSync(file) ? readFileSync(file, 'utf8') : '';
  }

  /** What a run printed, line by line. */
  printed(pod: string, restart = 0): string[] {
    return this.logFile(pod, restart)
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => line.replace(/^\S+ \S+ \S+ /, ''));
  }

  /** Resolves when the run has printed the line. */
  async untilPrinted(pod: string, line: string, restart = 0): Promise<void> {
    await until(
      `${pod} prints ${line}`,
      () => this.printed(pod, restart).includes(line),
      () => `${this.logFile(pod, restart)}\n${this.log}`,
    );
  }

  /** Sends the agent a signal and waits for its end. Resolves to its exit code. */
  async signal(signal: NodeJS.Signals): Promise<number> {
    const child = this.#child;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return child?.exitCode ?? 0;
    const ended = new Promise<number>((resolve) =>
      child.once('exit', (code, by) => resolve(code ?? (by === 'SIGKILL' ? 137 : 143))),
    );
    child.kill(signal);
    return ended;
  }

  /** Agents and runners of this node that live. */
  processes(): string[] {
    return processesOf(this.folder).map(({ pid, command }) => `${pid} ${command}`);
  }

  /** @throws AssertionError when an agent has written a stack trace */
  [Symbol.asyncDispose](): Promise<void> {
    return (this.#disposed ??= this.#dispose());
  }

  async #dispose(): Promise<void> {
    await this.#end();
    this.#folder[Symbol.dispose]();
    expect(this.log).not.toMatch(/ {4}at /);
  }

  /** As an operator would, and by force what is left after that. */
  async #end(): Promise<void> {
    const child = this.#child;
    if (child !== undefined && child.exitCode === null && child.signalCode === null) {
      const force = setTimeout(() => child.kill('SIGKILL'), 20_000);
      await this.signal('SIGINT');
      clearTimeout(force);
    }
    killProcessesOf(this.folder);
    await until('every process of the node has ended', () => processesOf(this.folder).length === 0);
  }
}
