import type { Database } from './database.ts';

/** A runner that was started, so that the next agent finds it again. */
export interface StoredRunner {
  readonly id: string;
  readonly socketPath: string;
  /** What the agent says in `hello`. */
  readonly token: string;
  readonly pid: number;
  /** Milliseconds since the epoch. */
  readonly startedAtMs: number;
}

/** The runners on disk. */
export class RunnerRecords {
  readonly #save;
  readonly #remove;
  readonly #all;

  constructor({ sqlite }: Database) {
    this.#save = sqlite.prepare<[string, string, string, number, number]>(
      `INSERT INTO runners (id, socket_path, token, pid, started_at) VALUES (?, ?, ?, ?, ?)
       ON CONFLICT (id) DO UPDATE SET socket_path = excluded.socket_path, token = excluded.token, pid = excluded.pid,
         started_at = excluded.started_at`,
    );
    this.#remove = sqlite.prepare<[string]>('DELETE FROM runners WHERE id = ?');
    this.#all = sqlite.prepare<[], StoredRunner>(
      `SELECT id, socket_path AS socketPath, token, pid, started_at AS startedAtMs FROM runners ORDER BY started_at, id`,
    );
  }

  /** Adds or replaces; on disk when it returns. */
  save(runner: StoredRunner): void {
    this.#save.run(runner.id, runner.socketPath, runner.token, runner.pid, Math.round(runner.startedAtMs));
  }

  remove(id: string): void {
    this.#remove.run(id);
  }

  /** Oldest first. */
  all(): StoredRunner[] {
    return this.#all.all();
  }
}
