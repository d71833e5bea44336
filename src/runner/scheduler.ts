import type { Instance } from './instance.ts';
import { TimerWheel, type WheelEntry } from './timer-wheel.ts';
import { uncatchable } from './uncatchable.ts';

/** What the scheduler keeps in each instance: its waits, innermost in these fields, outer ones in `outerWaits`. */
export interface Task extends WheelEntry {
  resolve: ((value: unknown) => void) | null;
  reject: ((error: unknown) => void) | null;
  /** What the innermost wait resolves to when its turn comes. */
  result: number | void;
  outerWaits: Wait[] | null;
}

interface Wait {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: unknown) => void;
}

/** Longest the run queue keeps the event loop from sockets and timers, in milliseconds. */
const turnMs = 10;

/**
 * Runs all instances of the process on its one thread. Imports are shared by all instances and learn from `current` whom they
 * work for, so it must be right whenever guest code runs: it is set before each call into a guest and before each resume.
 *
 * A wait is resolved only here: one per microtask hop. The resumed guest then runs in the microtask queued first, the
 * queue goes on in the one behind it, and nothing else changes `current` in between. (Resolving two in a row, or giving
 * a promise of real work to a suspending import, would run a guest under another's name.)
 */
class Scheduler<T extends Task> {
  /** Set by whoever calls into a guest outside of the run queue, and set back after. */
  current!: T;
  #ready: T[] = [];
  #incoming: T[] = [];
  #head = 0;
  #running = false;
  #turnStarted = 0;
  #resumed = 0;
  readonly #wheel = new TimerWheel<T>(performance.now());
  #timer: NodeJS.Timeout | undefined;
  #timerDue = Infinity;

  /** Instances that sleep. */
  get sleeping(): number {
    return this.#wheel.size;
  }

  get idle(): boolean {
    return !this.#running;
  }

  /** A promise for a suspending import to return; settled by `wake` or `end`. */
  park(task: T): Promise<unknown> {
    const { resolve, reject } = task;
    if (resolve && reject) (task.outerWaits ??= []).push({ resolve, reject });
    const promise = new Promise(captureSettlers);
    task.resolve = capturedResolve;
    task.reject = capturedReject;
    return promise;
  }

  /** Lets the innermost wait go on in its turn. */
  wake(task: T, result: number | void): void {
    task.result = result;
    this.#incoming.push(task);
    if (!this.#running) this.#start();
  }

  sleep(task: T, ms: number): Promise<unknown> {
    const due = Math.ceil(performance.now() + ms);
    this.#wheel.add(task, due);
    if (due < this.#timerDue) this.#arm(due);
    return this.park(task);
  }

  /** Rejects all waits of a task; it ends before any of its code runs again. */
  end(task: T): void {
    this.#wheel.remove(task);
    if (this.#wheel.size === 0) {
      // Nobody sleeps any more: the process may end, or rest.
      clearTimeout(this.#timer);
      this.#timerDue = Infinity;
    }
    const { reject, outerWaits } = task;
    task.resolve = task.reject = task.outerWaits = null;
    reject?.(uncatchable);
    while (outerWaits?.length) outerWaits.pop()!.reject(uncatchable);
  }

  /** Not at once: `wake` may be called from within a guest that was called from outside, whose caller sets `current` back. */
  #start(): void {
    this.#running = true;
    this.#turnStarted = performance.now();
    queueMicrotask(this.#next);
  }

  #next = (): void => {
    if (this.#head === this.#ready.length) {
      if (this.#incoming.length === 0) {
        this.#running = false;
        return;
      }
      const empty = this.#ready;
      empty.length = this.#head = 0;
      this.#ready = this.#incoming;
      this.#incoming = empty;
    }
    // The clock costs as much as a third of a resume, so it is not asked each time.
    if ((++this.#resumed & 31) === 0 && performance.now() - this.#turnStarted > turnMs) return this.#breathe();
    const task = this.#ready[this.#head++]!;
    const { resolve } = task;
    if (resolve) {
      const outer = task.outerWaits?.pop();
      task.resolve = outer?.resolve ?? null;
      task.reject = outer?.reject ?? null;
      this.current = task;
      resolve(task.result);
    }
    queueMicrotask(this.#next);
  };

  #breathe(): void {
    setImmediate(() => {
      this.#turnStarted = performance.now();
      this.#next();
    });
  }

  #arm(due: number): void {
    this.#timerDue = due;
    clearTimeout(this.#timer);
    // Far ahead it looks again in between: setTimeout has a largest delay of 24 days.
    this.#timer = setTimeout(this.#tick, Math.min(Math.max(1, Math.ceil(due - performance.now())), 2 ** 30));
  }

  #tick = (): void => {
    this.#timer = undefined;
    this.#timerDue = Infinity;
    this.#wheel.advance(performance.now(), this.#fire);
    const due = this.#wheel.nextDue();
    if (due < Infinity) this.#arm(due);
  };

  #fire = (task: T): void => this.wake(task, 0);
}

let capturedResolve!: (value: unknown) => void;
let capturedReject!: (error: unknown) => void;
function captureSettlers(resolve: (value: unknown) => void, reject: (error: unknown) => void): void {
  capturedResolve = resolve;
  capturedReject = reject;
}

/** One per process, as the thread it shares out. */
export const scheduler = new Scheduler<Instance>();
