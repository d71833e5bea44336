import { expect, test } from 'vitest';
import { Database } from '../../../src/store/database.ts';
import { PodRecords, type StoredPod } from '../../../src/store/pod-records.ts';
import { RunnerRecords } from '../../../src/store/runner-records.ts';
import { StateFolder } from '../../support/state-folder.ts';
import { TestLog } from '../../support/test-log.ts';

const pod: StoredPod = {
  uid: 'uid-1',
  namespace: 'garden',
  name: 'probe',
  source: 'api',
  manifest: { kind: 'Pod', metadata: { name: 'probe' } },
  record: { phase: 'Running', restarts: 2 },
  updatedAtMs: 1_790_000_000_000,
};

test('a pod is there after a restart as it was last saved, and gone once removed', () => {
  using folder = new StateFolder();
  const testLog = new TestLog();
  {
    using database = Database.open(folder.file('state.db'), testLog.log);
    const pods = new PodRecords(database, testLog.log);
    pods.save(pod);
    pods.save({ ...pod, uid: 'uid-2', name: 'a-static-one', source: 'static' });
    pods.save({ ...pod, record: { phase: 'Succeeded' } });
  }
  using database = Database.open(folder.file('state.db'), testLog.log);
  const pods = new PodRecords(database, testLog.log);
  expect(pods.all()).toEqual([
    { ...pod, uid: 'uid-2', name: 'a-static-one', source: 'static' },
    { ...pod, record: { phase: 'Succeeded' } },
  ]);
  pods.remove('uid-1');
  pods.remove('never-there');
  expect(pods.all().map(({ uid }) => uid)).toEqual(['uid-2']);
});

test('one unreadable pod does not keep the others from starting, and stays on disk', () => {
  using folder = new StateFolder();
  const testLog = new TestLog();
  using database = Database.open(folder.file('state.db'), testLog.log);
  const pods = new PodRecords(database, testLog.log);
  pods.save(pod);
  pods.save({ ...pod, uid: 'uid-2', name: 'broken' });
  database.sqlite.exec(`UPDATE pods SET manifest = '{"half":' WHERE uid = 'uid-2'`);
  expect(pods.all()).toEqual([pod]);
  expect(testLog.atLeast(50)).toMatchObject([{ msg: 'stored pod is unreadable', pod: 'broken' }]);
  expect(database.sqlite.prepare('SELECT count(*) FROM pods').pluck().get()).toBe(2);
});

test('runners are found again with socket and token, oldest first', () => {
  using folder = new StateFolder();
  const { log } = new TestLog();
  using database = Database.open(folder.file('state.db'), log);
  const runners = new RunnerRecords(database);
  const runner = { id: 'b', socketPath: '/run/loamlet/runner-b.sock', token: 'secret', pid: 12, startedAtMs: 1_000 };
  runners.save({ ...runner, id: 'c', startedAtMs: 2_000 });
  runners.save(runner);
  runners.save({ ...runner, pid: 13 });
  expect(runners.all()).toEqual([
    { ...runner, pid: 13 },
    { ...runner, id: 'c', startedAtMs: 2_000 },
  ]);
  runners.remove('b');
  expect(runners.all().map(({ id }) => id)).toEqual(['c']);
});
