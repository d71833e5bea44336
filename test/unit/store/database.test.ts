import { readFileSync, statSync, writeFileSync } from 'node:fs';
import BetterSqlite3 from 'better-sqlite3';
import { expect, test } from 'vitest';
import { Database } from '../../../src/store/database.ts';
import { StoreError } from '../../../src/store/errors.ts';
import { migrations } from '../../../src/store/migrations.ts';
import { StateFolder } from '../../support/state-folder.ts';
import { TestLog } from '../../support/test-log.ts';

const { log } = new TestLog();

function failure(path: string): StoreError {
  try {
    Database.open(path, log)[Symbol.dispose]();
  } catch (error) {
    if (error instanceof StoreError) return error;
    throw error;
  }
  throw new Error('it opened');
}

test('a new file has all tables, the newest version, WAL with full synchronisation and mode 0600', () => {
  using folder = new StateFolder();
  const path = folder.file('state.db');
  using database = Database.open(path, log);
  const tables = database.sqlite
    .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
    .pluck()
    .all();
  expect(tables).toEqual(['outbox', 'pods', 'published', 'runners']);
  expect(database.sqlite.pragma('user_version', { simple: true })).toBe(migrations.length);
  expect(database.sqlite.pragma('journal_mode', { simple: true })).toBe('wal');
  expect(database.sqlite.pragma('synchronous', { simple: true })).toBe(2);
  for (const suffix of ['', '-wal', '-shm']) expect(statSync(path + suffix).mode & 0o777).toBe(0o600);
});

test('a file opens a second time with what was in it', () => {
  using folder = new StateFolder();
  const path = folder.file('state.db');
  {
    using database = Database.open(path, log);
    database.sqlite.exec("INSERT INTO published VALUES ('r', 1, 2)");
  }
  using database = Database.open(path, log);
  expect(database.sqlite.prepare('SELECT * FROM published').all()).toEqual([{ runner_id: 'r', first: 1, last: 2 }]);
});

test('a file of a newer version is refused with the remedy and left as it is', () => {
  using folder = new StateFolder();
  const path = folder.file('state.db');
  {
    using database = Database.open(path, log);
    database.sqlite.pragma(`user_version = ${migrations.length + 1}`);
  }
  const before = readFileSync(path);
  const error = failure(path);
  expect(error.code).toBe('NewerVersion');
  expect(error.line).toContain(path);
  expect(error.line).toContain('install the newer loamlet');
  expect(readFileSync(path)).toEqual(before);
});

test('a damaged file is named and left as it is', () => {
  using folder = new StateFolder();
  const path = folder.file('state.db');
  const rubbish = Buffer.alloc(8192, 'not a database ');
  writeFileSync(path, rubbish);
  const error = failure(path);
  expect(error.code).toBe('Corrupt');
  expect(error.line).toContain(path);
  expect(readFileSync(path)).toEqual(rubbish);
});

test("another program's SQLite file is refused and left as it is", () => {
  using folder = new StateFolder();
  const path = folder.file('state.db');
  const other = new BetterSqlite3(path);
  other.exec('CREATE TABLE bookmarks (url TEXT)');
  other.close();
  const before = readFileSync(path);
  expect(failure(path).code).toBe('NotOurs');
  expect(readFileSync(path)).toEqual(before);
});

test('a missing folder is an error with a remedy', () => {
  using folder = new StateFolder();
  const error = failure(folder.file('missing/state.db'));
  expect(error.code).toBe('CannotOpen');
  expect(error.line).toMatch(/ENOENT.*make its folder exist/);
});

test('a transaction that throws leaves nothing, and a lazy one restores full synchronisation', () => {
  using folder = new StateFolder();
  using database = Database.open(folder.file('state.db'), log);
  const insert = (): void => void database.sqlite.exec("INSERT INTO published VALUES ('r', 1, 2)");
  const broken = (): void => {
    insert();
    throw new Error('stop');
  };
  expect(() => database.transaction(broken)).toThrow('stop');
  expect(() => database.lazyTransaction(broken)).toThrow('stop');
  expect(database.sqlite.prepare('SELECT count(*) FROM published').pluck().get()).toBe(0);
  expect(database.sqlite.pragma('synchronous', { simple: true })).toBe(2);
});
