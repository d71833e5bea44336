import { errorLine } from '../base/errors.ts';
import type { Logger } from '../observe/logger.ts';
import type { Pod } from './pod.ts';

/** What is saved of a pod; `manifest` and `record` are JSON values. */
export interface SavedPod {
  readonly uid: string;
  readonly namespace: string;
  readonly name: string;
  readonly source: Pod['source'];
  readonly manifest: unknown;
  readonly record: unknown;
}

export interface PodJournalOptions {
  /** What to save of a pod now; undefined when it is gone. */
  read(uid: string): SavedPod | undefined;
  /** On disk when it returns. */
  save(changed: readonly SavedPod[], removed: readonly string[]): void;
  readonly log: Logger;
}

const retryMs = 5_000;

/**
 * Puts what has happened to pods on disk before it has consequences: once a turn of the event loop, however much has
 * happened in it, it saves, and then does what was waiting for that. So a run that the agent dies over is on disk when
 * the runner hears of it, and an exit is when the runner may forget it.
 *
 * A disk that takes nothing stops no module: it is tried again every 5 s, and only what must not be lost (`onceSaved`)
 * waits. All that waits is bounded by the number of pods and their runs.
 */
export class PodJournal {
  readonly #options: PodJournalOptions;
  readonly #changed = new Set<string>();
  readonly #removed = new Set<string>();
  #next: (() => void)[] = [];
  #onceSaved: (() => void)[] = [];
  #turn: NodeJS.Immediate | undefined;
  #retry: NodeJS.Timeout | undefined;
  /** The last save failed; the next failure is no news. */
  #failing = false;
  /** The agent is about to end: nothing may hold it up. */
  #flushed = false;

  constructor(options: PodJournalOptions) {
    this.#options = options;
  }

  changed(uid: string): void {
    this.#changed.add(uid);
    this.#removed.delete(uid);
    this.#schedule();
  }

  removed(uid: string): void {
    this.#removed.add(uid);
    this.#changed.delete(uid);
    this.#schedule();
  }

  /** Done after the next save, in order; also when the disk takes nothing. */
  next(effect: () => void): void {
    this.#next.push(effect);
    this.#schedule();
  }

  /** Done when all that has happened until now is on disk. */
  onceSaved(effect: () => void): void {
    this.#onceSaved.push(effect);
    this.#schedule();
  }

  /** Writes now. What happens later is written in its own turn, but a disk that takes nothing is not tried again. */
  flush(): void {
    this.#flushed = true;
    if (this.#turn !== undefined) clearImmediate(this.#turn);
    this.#turn = undefined;
    this.#write();
    clearTimeout(this.#retry);
    this.#retry = undefined;
  }

  #schedule(): void {
    this.#turn ??= setImmediate(() => {
      this.#turn = undefined;
      this.#write();
    });
  }

  #write(): void {
    const saved = this.#save();
    const effects = this.#next.splice(0);
    if (saved) effects.push(...this.#onceSaved.splice(0));
    for (const effect of effects) effect();
  }

  #save(): boolean {
    const changed = [...this.#changed].map((uid) => this.#options.read(uid)).filter((pod) => pod !== undefined);
    const removed = [...this.#removed];
    if (changed.length === 0 && removed.length === 0) return true;
    try {
      this.#options.save(changed, removed);
    } catch (error) {
      if (!this.#failing)
        this.#options.log.error({ error: errorLine(error), pods: changed.length }, "can't save pods: trying again");
      this.#failing = true;
      if (this.#flushed) return false;
      this.#retry ??= setTimeout(() => {
        this.#retry = undefined;
        this.#write();
      }, retryMs);
      return false;
    }
    this.#failing = false;
    this.#changed.clear();
    this.#removed.clear();
    return true;
  }
}
