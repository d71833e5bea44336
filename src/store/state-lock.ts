import { join } from 'node:path';
import BetterSqlite3 from 'better-sqlite3';
import { systemCode } from '../base/errors.ts';
import { StoreError } from './errors.ts';

/**
 * One agent for one state directory: two would publish every reading twice and fight over the runner. The lock is the
 * kernel's, on a file of SQLite's, which is how Node comes to it: it is gone with the process that holds it, however
 * that ends, and of several that start at once one gets it.
 */
export class StateLock implements Disposable {
  readonly #sqlite: BetterSqlite3.Database;

  private constructor(sqlite: BetterSqlite3.Database) {
    this.#sqlite = sqlite;
  }

  /** @throws StoreError `InUse`, `CannotOpen` */
  static take(directory: string): StateLock {
    const path = join(directory, 'agent.lock');
    let sqlite: BetterSqlite3.Database | undefined;
    try {
      sqlite = new BetterSqlite3(path, { timeout: 0 });
      sqlite.exec('BEGIN EXCLUSIVE');
      return new StateLock(sqlite);
    } catch (cause) {
      sqlite?.close();
      const code = systemCode(cause) ?? String(cause);
      if (code.startsWith('SQLITE_BUSY')) {
        throw new StoreError('InUse', `an agent is running already on the state in ${directory}`, {
          remedy: 'stop it with loamlet stop, or give this one its own runDirectory and stateDirectory',
          cause,
        });
      }
      throw new StoreError('CannotOpen', `cannot lock the state in ${directory} (${code})`, {
        remedy: 'make it belong to the user that runs loamlet',
        cause,
      });
    }
  }

  [Symbol.dispose](): void {
    this.#sqlite.close();
  }
}
