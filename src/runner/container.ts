import { DeviceConfigError, DeviceError } from '../../devices/contract.ts';
import type { DeviceHold, DeviceHub } from '../../devices/hub.ts';
import { checkImports, denialLine } from '../../hostcalls/link.ts';
import { errorLine } from '../base/errors.ts';
import { printable } from '../base/printable.ts';
import { ExecutorError } from './executor-error.ts';
import type { Executor } from './executor.ts';
import type { Ending, Instance } from './instance.ts';
import type { Modules } from './modules.ts';
import type { ContainerExit, ContainerReport, ContainerStart, StartFailure } from './protocol.ts';
import { StringBlock } from './string-block.ts';
import type { Input, Output } from './wasi/guest.ts';

/** What containers of one process share. */
export interface ContainerHost {
  readonly executor: Executor;
  readonly modules: Modules;
  readonly devices: DeviceHub;
}

/** News of one container, each at most once except `ready`. */
export interface ContainerEvents {
  started(startedAtMs: number): void;
  startFailed(reason: StartFailure, message: string): void;
  exited(exit: ContainerExit): void;
  ready(ready: boolean): void;
}

export interface ContainerStreams {
  readonly output: Output;
  readonly input?: Input;
}

/** Exit codes as a shell has them: 128 and the signal that would have done it. */
const exitCode = { trap: 134, killed: 137, terminated: 143 } as const;

/**
 * One run of one container: checks what the module imports against its grant, opens its devices, runs it, and says how it ended.
 * Everything it holds is given back when it has ended, however it ended.
 *
 * starting -> running -> exited, or starting -> failed.
 */
export class Container {
  readonly spec: ContainerStart;
  readonly #host: ContainerHost;
  readonly #events: ContainerEvents;
  readonly #starting = new AbortController();
  #state: 'starting' | 'running' | 'exited' | 'failed' = 'starting';
  #instance: Instance | undefined;
  #knowsLifecycle = false;
  #hold: DeviceHold | undefined;
  #startedAtMs = 0;
  #exit: ContainerExit | undefined;
  #grace: NodeJS.Timeout | undefined;
  /** Resolves when it has exited or failed to start. */
  readonly ended: Promise<void>;
  #settleEnded!: () => void;

  constructor(spec: ContainerStart, host: ContainerHost, events: ContainerEvents) {
    this.spec = spec;
    this.#host = host;
    this.#events = events;
    this.ended = new Promise((resolve) => (this.#settleEnded = resolve));
  }

  /** Undefined while it starts, and when it failed to. */
  get report(): ContainerReport | undefined {
    if (this.#exit) return { id: this.spec.id, state: 'exited', ...this.#exit };
    if (this.#state === 'running') return { id: this.spec.id, state: 'running', startedAtMs: this.#startedAtMs };
    return undefined;
  }

  /** starting -> running | failed. Never rejects. */
  async start(streams: ContainerStreams): Promise<void> {
    try {
      await this.#prepare(streams);
    } catch (error) {
      await this.#release();
      if (this.#state !== 'starting') return;
      this.#state = 'failed';
      const { code, message } = startFailure(error);
      this.#events.startFailed(code, message);
      this.#settleEnded();
    }
  }

  /**
   * Asks it to stop, and ends it when the grace has passed; at once when its module could not know that it was asked.
   * A later call can only shorten the grace.
   */
  stop(graceMs: number): void {
    this.#starting.abort(new ExecutorError('CreateContainerError', 'stopped before it started'));
    if (this.#state !== 'running') return;
    if (!this.#knowsLifecycle) return this.#instance?.kill(exitCode.terminated, '');
    this.#instance!.stopping = true;
    clearTimeout(this.#grace);
    this.#grace = setTimeout(() => this.kill(), Math.min(graceMs, 2 ** 31 - 1));
  }

  /** Ends it now. */
  kill(): void {
    this.#starting.abort(new ExecutorError('CreateContainerError', 'stopped before it started'));
    this.#instance?.kill(exitCode.killed, 'ended: it did not stop within its grace period');
  }

  async #prepare(streams: ContainerStreams): Promise<void> {
    const { executor, modules, devices } = this.#host;
    const { signal } = this.#starting;
    const { modulePath, moduleDigest, grant } = this.spec;
    const loaded = await modules.use(moduleDigest, modulePath);
    try {
      const { imports } = loaded.description;
      const denials = checkImports(imports, grant);
      if (denials.length > 0) throw new ExecutorError('GrantDenied', denialLine(denials));
      this.#knowsLifecycle = imports.some(({ module }) => module.startsWith('loamlet:host/lifecycle@'));
      this.#hold = devices.hold(grant.devices.map(({ device }) => device));
      await this.#hold.open(signal);
      signal.throwIfAborted();
      this.#startedAtMs = Date.now();
      this.#state = 'running';
      try {
        this.#instance = executor.start(loaded, {
          ...streams,
          id: this.spec.id,
          name: this.spec.name,
          grant,
          args: new StringBlock(this.spec.args),
          env: new StringBlock(this.spec.env),
          memoryLimitBytes: this.spec.memoryLimitBytes,
          // Before it runs: one that never gives the thread back has begun too, and is blamed for it.
          onMade: () => this.#events.started(this.#startedAtMs),
          onReady: (ready) => this.#events.ready(ready),
          onEnd: (ending) => void this.#end(ending),
        });
      } catch (error) {
        this.#state = 'starting';
        throw error;
      }
    } catch (error) {
      modules.release(moduleDigest);
      throw error;
    }
  }

  async #end(ending: Ending): Promise<void> {
    clearTimeout(this.#grace);
    const finishedAtMs = Math.max(Date.now(), this.#startedAtMs);
    this.#instance = undefined;
    this.#host.modules.release(this.spec.moduleDigest);
    await this.#release();
    this.#state = 'exited';
    this.#exit = { startedAtMs: this.#startedAtMs, finishedAtMs, ...exitOf(ending) };
    this.#events.exited(this.#exit);
    this.#settleEnded();
  }

  async #release(): Promise<void> {
    const hold = this.#hold;
    this.#hold = undefined;
    try {
      await hold?.[Symbol.asyncDispose]();
    } catch {
      // A device that can't be closed is its driver's trouble, and no news of this container.
    }
  }
}

function exitOf(ending: Ending): Pick<ContainerExit, 'exitCode' | 'reason' | 'message'> {
  switch (ending.kind) {
    case 'exit':
      return { exitCode: ending.code, reason: ending.code === 0 ? 'Completed' : 'Error', message: '' };
    case 'trap':
      return { exitCode: exitCode.trap, reason: 'Error', message: printable(ending.message, 300) };
    case 'outOfMemory':
      return { exitCode: exitCode.killed, reason: 'OOMKilled', message: printable(ending.message, 300) };
    case 'killed':
      return { exitCode: ending.code, reason: 'Killed', message: ending.message };
    default:
      return ending satisfies never;
  }
}

function startFailure(error: unknown): { code: StartFailure; message: string } {
  const message = errorLine(error);
  if (error instanceof ExecutorError) return { code: error.code, message };
  if (error instanceof DeviceError || error instanceof DeviceConfigError) return { code: 'DeviceUnavailable', message };
  return { code: 'CreateContainerError', message: printable(message, 500) };
}
