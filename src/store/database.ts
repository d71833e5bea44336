import { chmodSync, closeSync, openSync, statSync } from 'node:fs';
import BetterSqlite3 from 'better-sqlite3';
import { systemCode } from '../base/errors.ts';
import type { Logger } from '../observe/logger.ts';
import { StoreError } from './errors.ts';
import { applicationId, migrations } from './migrations.ts';

/**
 * The node's one SQLite file: outbox, pods, runners. WAL with `synchronous=FULL`: what a transaction committed survives
 * a power cut.
 *
 * Bounds: page cache 2 MiB, no memory map, WAL checkpointed at 1,000 pages (4 MiB) and cut back to 4 MiB after it, 5 s
 * of waiting for another process's lock. Calls block the thread; the tables' owners keep them short.
 */
export class Database implements Disposable {
  readonly path: string;
  /** For the owners of the tables (`src/store`, `src/mqtt/outbox.ts`), who prepare their statements once. */
  readonly sqlite: BetterSqlite3.Database;

  private constructor(path: string, sqlite: BetterSqlite3.Database) {
    this.path = path;
    this.sqlite = sqlite;
  }

  /**
   * Opens or makes the file (mode 0600; its folder must exist) and brings it up to date. A file that can't be used is left untouched.
   * @throws StoreError
   */
  static open(path: string, log: Logger): Database {
    makePrivate(path);
    let sqlite: BetterSqlite3.Database | undefined;
    try {
      sqlite = new BetterSqlite3(path);
      // Checked before anything is written: switching to WAL already changes a file.
      const version = checkedVersion(path, sqlite);
      configure(sqlite);
      migrate(sqlite, version, log);
      return new Database(path, sqlite);
    } catch (error) {
      sqlite?.close();
      throw asStoreError(path, error);
    }
  }

  /** Runs `work` as one transaction, waiting for the disk at its end. Rolled back when it throws. */
  transaction<T>(work: () => T): T {
    return this.sqlite.transaction(work).immediate();
  }

  /**
   * As `transaction`, but not waiting for the disk: it survives the end of the process, and a power cut may undo it. For
   * deleting what, if it came back, would only be sent again.
   */
  lazyTransaction<T>(work: () => T): T {
    this.sqlite.pragma('synchronous = NORMAL');
    try {
      return this.transaction(work);
    } finally {
      this.sqlite.pragma('synchronous = FULL');
    }
  }

  [Symbol.dispose](): void {
    this.sqlite.close();
  }
}

/** SQLite gives `-wal` and `-shm` the mode of the file itself. */
function makePrivate(path: string): void {
  try {
    closeSync(openSync(path, 'a', 0o600));
    if ((statSync(path).mode & 0o077) !== 0) chmodSync(path, 0o600);
  } catch (error) {
    throw new StoreError('CannotOpen', `cannot open the database ${path} (${systemCode(error) ?? String(error)})`, {
      remedy: 'make its folder exist and belong to the user that runs loamlet',
      cause: error,
    });
  }
}

function checkedVersion(path: string, sqlite: BetterSqlite3.Database): number {
  const version = sqlite.pragma('user_version', { simple: true }) as number;
  const owner = sqlite.pragma('application_id', { simple: true }) as number;
  const tables = sqlite.prepare('SELECT count(*) FROM sqlite_schema').pluck().get() as number;
  if (owner !== applicationId && (tables > 0 || version > 0)) {
    throw new StoreError('NotOurs', `${path} is a SQLite file of another program`, {
      remedy: 'set another state folder',
    });
  }
  if (version > migrations.length) {
    throw new StoreError(
      'NewerVersion',
      `${path} was written by a newer loamlet (its version is ${version}, this one knows ${migrations.length})`,
      {
        remedy: 'install the newer loamlet again, or move the file away to start empty',
      },
    );
  }
  return version;
}

function configure(sqlite: BetterSqlite3.Database): void {
  sqlite.pragma('busy_timeout = 5000');
  sqlite.pragma('journal_mode = WAL');
  sqlite.pragma('synchronous = FULL');
  sqlite.pragma('foreign_keys = ON');
  sqlite.pragma('cache_size = -2048');
  sqlite.pragma('mmap_size = 0');
  sqlite.pragma('wal_autocheckpoint = 1000');
  sqlite.pragma('journal_size_limit = 4194304');
}

function migrate(sqlite: BetterSqlite3.Database, from: number, log: Logger): void {
  if (from === migrations.length) return;
  sqlite
    .transaction(() => {
      sqlite.pragma(`application_id = ${applicationId}`);
      for (const [index, { what, sql }] of migrations.entries()) {
        if (index < from) continue;
        sqlite.exec(sql);
        sqlite.pragma(`user_version = ${index + 1}`);
        log.debug({ version: index + 1, what }, 'database migrated');
      }
    })
    .immediate();
}

/** What SQLite complained of, as the operator of the file should hear it; any other error as it is. */
export function asStoreError(path: string, error: unknown): unknown {
  const code = systemCode(error) ?? '';
  if (code.startsWith('SQLITE_CORRUPT') || code === 'SQLITE_NOTADB') {
    return new StoreError('Corrupt', `the database ${path} is damaged (${(error as Error).message})`, {
      remedy: `nothing was changed in it; move it away to start empty, or recover it with: sqlite3 ${path} .recover`,
      cause: error,
    });
  }
  if (code.startsWith('SQLITE_')) {
    return new StoreError('CannotOpen', `cannot open the database ${path} (${code}: ${(error as Error).message})`, {
      remedy: 'check the disk (df, dmesg) and the rights on its folder',
      cause: error,
    });
  }
  return error;
}
