import type { Guest, HostFunction, HostInterface } from '../../hostcalls/guest.ts';
import { hostModule } from '../precompile/description.ts';
import { printable } from '../base/printable.ts';
import { ExecutorError } from './executor-error.ts';
import type { Instance } from './instance.ts';
import { scheduler } from './scheduler.ts';
import { uncatchable } from './uncatchable.ts';
import { wasiFunctions } from './wasi/index.ts';
import type { WasiFunction } from './wasi/guest.ts';

type Call = (guest: Guest & Instance, ...args: never[]) => unknown;

/**
 * The imports of all modules, each function made once per process and shared by all instances: it works for
 * `scheduler.current`. That keeps instances small and V8's call sites monomorphic. A module is linked with what it imports only.
 */
export class ImportTable {
  readonly #interfaces = new Map<string, Readonly<Record<string, HostFunction | WasiFunction>>>();
  readonly #made = new Map<string, unknown>();

  constructor(interfaces: readonly HostInterface[]) {
    for (const { module, functions } of interfaces) this.#interfaces.set(module, functions);
    for (const [module, functions] of Object.entries(wasiFunctions)) this.#interfaces.set(module, functions);
  }

  /**
   * An import object for one module. Its memory, `imports.loamlet.memory`, is put in before each instantiation.
   * @throws ExecutorError for an import that does not exist
   */
  link(module: WebAssembly.Module): WebAssembly.Imports {
    const imports: WebAssembly.Imports = {};
    for (const { module: from, name } of WebAssembly.Module.imports(module)) {
      const group = (imports[from] ??= {});
      if (from !== hostModule) group[name] = this.#function(from, name);
    }
    return imports;
  }

  #function(module: string, name: string): unknown {
    const key = `${module}\0${name}`;
    const made = this.#made.get(key);
    if (made) return made;
    const functions = this.#interfaces.get(module);
    const found = functions && Object.hasOwn(functions, name) ? functions[name] : undefined;
    if (!found) {
      throw new ExecutorError(
        'CreateContainerError',
        `the module imports ${printable(`${module} ${name}`)}, which does not exist`,
        {
          remedy: 'build it against the interfaces of hostcalls/wit, or as a WASI preview 1 command',
        },
      );
    }
    const wrapped = wrap(found);
    this.#made.set(key, wrapped);
    return wrapped;
  }
}

function wrap(fn: HostFunction | WasiFunction): unknown {
  const call = fn.call as Call;
  switch (fn.kind) {
    case 'plain':
      return byArity(call);
    case 'parking':
      return new WebAssembly.Suspending(byArity(parking(call), call.length));
    case 'suspending':
      return new WebAssembly.Suspending(byArity(waiting(call), call.length));
  }
}

/**
 * A suspending import parks its guest whatever it returns, so an answer at once goes through the run queue as well: no guest may
 * go on but in its turn, with `current` set.
 */
function answered(guest: Instance, answer: number): Promise<unknown> {
  const parked = scheduler.park(guest);
  scheduler.wake(guest, answer);
  return parked;
}

function parking(call: Call): Call {
  return (guest, a, b, c, d) => {
    const parked = call(guest, a, b, c, d) as Promise<unknown> | number;
    return typeof parked === 'number' ? answered(guest, parked) : parked;
  };
}

/** Host promises settle whenever they like; the guest goes on in its turn. */
function waiting(call: Call): Call {
  return (guest, ...args) => {
    const done = call(guest, ...args) as Promise<number | void> | number;
    if (typeof done === 'number') return answered(guest, done);
    const parked = scheduler.park(guest);
    done.then(
      (result) => {
        if (!guest.ending) scheduler.wake(guest, result);
      },
      (error) => guest.fail(error),
    );
    return parked;
  };
}

/** Gives the call its guest, and turns what it throws into the guest's end. One closure per arity spares rest arrays. */
function byArity(call: Call, parameters = call.length): (...args: never[]) => unknown {
  switch (parameters) {
    case 1:
      return () => {
        const guest = scheduler.current;
        if (guest.ending) throw uncatchable;
        try {
          return call(guest);
        } catch (error) {
          throw ended(guest, error);
        }
      };
    case 2:
      return (a: never) => {
        const guest = scheduler.current;
        if (guest.ending) throw uncatchable;
        try {
          return call(guest, a);
        } catch (error) {
          throw ended(guest, error);
        }
      };
    case 3:
      return (a: never, b: never) => {
        const guest = scheduler.current;
        if (guest.ending) throw uncatchable;
        try {
          return call(guest, a, b);
        } catch (error) {
          throw ended(guest, error);
        }
      };
    case 4:
      return (a: never, b: never, c: never) => {
        const guest = scheduler.current;
        if (guest.ending) throw uncatchable;
        try {
          return call(guest, a, b, c);
        } catch (error) {
          throw ended(guest, error);
        }
      };
    case 5:
      return (a: never, b: never, c: never, d: never) => {
        const guest = scheduler.current;
        if (guest.ending) throw uncatchable;
        try {
          return call(guest, a, b, c, d);
        } catch (error) {
          throw ended(guest, error);
        }
      };
    default:
      return (...args: never[]) => {
        const guest = scheduler.current;
        if (guest.ending) throw uncatchable;
        try {
          return call(guest, ...args);
        } catch (error) {
          throw ended(guest, error);
        }
      };
  }
}

function ended(guest: Instance, error: unknown): unknown {
  if (error !== uncatchable) guest.fail(error);
  return uncatchable;
}
