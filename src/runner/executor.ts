import { GuestTrap, type HostInterface } from '../../hostcalls/guest.ts';
import { errorLine } from '../base/errors.ts';
import { printable } from '../base/printable.ts';
import { formatBytes } from '../base/quantity.ts';
import { hostModule, refusedExport, startExport } from '../precompile/description.ts';
import { ExecutorError } from './executor-error.ts';
import { GarbageHints } from './garbage-hints.ts';
import { ImportTable } from './imports.ts';
import { Instance, trapMessage, type Ending, type InstanceOptions } from './instance.ts';
import type { LoadedModule } from './modules.ts';
import { scheduler } from './scheduler.ts';
import { uncatchable } from './uncatchable.ts';

const pageBytes = 65_536;
const maxPages = 65_536;

export interface StartOptions extends InstanceOptions {
  /** Bytes; the guest's memory can't grow past it. */
  readonly memoryLimitBytes: number;
  /** Called once, when it is made and before any of its code runs: from there on it may hold this thread for ever. */
  onMade?(): void;
  /** Called once, when its stack is gone and what it held is closed. */
  onEnd(ending: Ending): void;
}

/** Makes and runs instances, all of them on this thread. One per process: see `scheduler`. */
export class Executor {
  readonly #imports: ImportTable;
  readonly #linked = new WeakMap<WebAssembly.Module, WebAssembly.Imports>();
  readonly #garbage = new GarbageHints(() => scheduler.idle);
  #running = 0;

  constructor(interfaces: readonly HostInterface[]) {
    this.#imports = new ImportTable(interfaces);
  }

  /** Instances that have not ended. */
  get running(): number {
    return this.#running;
  }

  /**
   * Makes an instance and runs it to its first wait, within this call.
   * @throws ExecutorError `CreateContainerError` when it can't be made; nothing is left of it then
   */
  start({ module, description }: LoadedModule, options: StartOptions): Instance {
    const limit = memoryLimit(description.memory, options.memoryLimitBytes);
    const memory = limit && this.#memory(limit);
    const made = this.#instantiate(module, memory);
    const first = made.exports[startExport];
    const main = made.exports['_start'];
    if (typeof main !== 'function' && typeof first !== 'function') {
      throw new ExecutorError('CreateContainerError', 'the module has no _start function', {
        remedy: 'build it as a command: a program with main, not a library or reactor',
      });
    }
    const instance = new Instance(options, memory ?? null);
    instance.exports = made.exports;
    this.#running++;
    options.onMade?.();
    let run: Promise<unknown>;
    if (first === undefined) run = this.#call(instance, main!);
    else if (main === undefined) run = this.#call(instance, first);
    else run = this.#call(instance, first).then(() => (instance.ending ? undefined : this.#call(instance, main)));
    run.then(
      () => this.#ended(instance, undefined, options),
      (error: unknown) => this.#ended(instance, error, options),
    );
    return instance;
  }

  #memory({ initial, maximum }: { initial: number; maximum: number }): WebAssembly.Memory {
    try {
      return new WebAssembly.Memory({ initial, maximum });
    } catch (cause) {
      throw new ExecutorError(
        'CreateContainerError',
        `this machine has no ${formatBytes(initial * pageBytes)} of memory for the module`,
        {
          cause,
        },
      );
    }
  }

  #instantiate(module: WebAssembly.Module, memory: WebAssembly.Memory | undefined): WebAssembly.Instance {
    let imports = this.#linked.get(module);
    if (!imports) {
      imports = this.#imports.link(module);
      this.#linked.set(module, imports);
    }
    const own = imports[hostModule];
    if (own) own['memory'] = memory;
    try {
      return new WebAssembly.Instance(module, imports);
    } catch (cause) {
      const why = printable(errorLine(cause).replace(/^WebAssembly\.Instance\(\): /, ''));
      throw new ExecutorError('CreateContainerError', `the module can't be instantiated: ${why}`, { cause });
    } finally {
      if (own) own['memory'] = undefined; // shared by all instances: it must not keep the last one's memory alive
    }
  }

  /** Guest code is always called on a stack that may suspend. Never throws: a function that can't be called without arguments rejects. */
  #call(instance: Instance, call: WebAssembly.ExportValue): Promise<unknown> {
    const before = scheduler.current;
    scheduler.current = instance;
    try {
      return WebAssembly.promising(call)();
    } catch (error) {
      return Promise.reject(
        new GuestTrap('has a start function with parameters, which nobody gives it', { cause: error }),
      );
    } finally {
      scheduler.current = before;
    }
  }

  async #ended(instance: Instance, error: unknown, options: StartOptions): Promise<void> {
    if (error !== undefined && error !== uncatchable) {
      const message = trapMessage(error);
      instance.ending ??= memoryRefused(instance)
        ? {
            kind: 'outOfMemory',
            message: `its memory could not grow past ${formatBytes(options.memoryLimitBytes)} (${message})`,
          }
        : { kind: 'trap', message };
    }
    const ending = (instance.ending ??= { kind: 'exit', code: 0 });
    try {
      await instance.close();
    } finally {
      this.#running--;
      this.#garbage.ended();
      options.onEnd(ending);
    }
  }
}

/** Pages of a memory within the container's limit and the module's own. */
function memoryLimit(
  memory: LoadedModule['description']['memory'],
  limitBytes: number,
): { initial: number; maximum: number } | undefined {
  if (!memory) return undefined;
  const limitPages = Math.min(Math.floor(limitBytes / pageBytes), maxPages);
  if (memory.minPages > limitPages) {
    throw new ExecutorError(
      'CreateContainerError',
      `the module starts with ${formatBytes(memory.minPages * pageBytes)} of memory and its limit is ${formatBytes(limitBytes)}`,
      { remedy: 'raise resources.limits.memory (loamlet run: --memory)' },
    );
  }
  return { initial: memory.minPages, maximum: Math.min(limitPages, memory.maxPages ?? maxPages) };
}

/** Noted by the precompiled module itself. */
function memoryRefused({ exports }: Instance): boolean {
  const refused = exports[refusedExport];
  return refused instanceof WebAssembly.Global && refused.value === 1;
}
