import { describe, expect, it } from 'vitest';
import type { LogRun } from '../../../src/pods/logs/log-folder.ts';
import type { PodManager } from '../../../src/pods/pod-manager.ts';
import { RunnerDesk } from '../../../src/pods/runner-desk.ts';
import { TestLog } from '../../support/test-log.ts';

const run: LogRun = { namespace: 'default', pod: 'soil', uid: 'u', container: 'c', restart: 0 };
const exited = {
  type: 'exited',
  id: 'run',
  startedAtMs: 0,
  finishedAtMs: 1,
  exitCode: 0,
  reason: 'Completed',
  message: '',
} as const;
const piece = { entry: { id: 'run', stream: 'stdout', atMs: 0, length: 1 }, bytes: new Uint8Array(1) } as const;

/** A desk whose log writer does what the test says, and the order in which everything was told. */
function desk(writing: Promise<void>, ending: Promise<void> = Promise.resolve()) {
  const told: string[] = [];
  const log = new TestLog();
  const subject = new RunnerDesk({
    outbox: undefined,
    log: log.log,
    logs: {
      write: () => writing.then(() => void told.push('written')),
      end: () => ending.then(() => void told.push('log ended')),
      endAll: () => ending.then(() => void told.push('all logs ended')),
    },
  });
  const done = Promise.withResolvers<void>();
  const manager: Pick<PodManager, 'news' | 'logRunOf' | 'runnerLost' | 'grantOf'> = {
    news: (message) => {
      told.push(message.type);
      done.resolve();
    },
    logRunOf: () => run,
    runnerLost: () => void told.push('runner lost'),
    grantOf: () => undefined,
  };
  subject.serve(manager as PodManager);
  return { subject, told, log, exitTold: done.promise };
}

describe('the exit of a run', () => {
  it('is told when its last words are in the log', async () => {
    const written = Promise.withResolvers<void>();
    const { subject, told, exitTold } = desk(written.promise);
    void subject.logs([piece]);
    subject.news(exited);
    await Promise.resolve();
    expect(told).toEqual([]);
    written.resolve();
    await exitTold;
    expect(told).toEqual(['written', 'log ended', 'exited']);
  });

  it.each([
    ['written', () => desk(Promise.reject(new Error('disk full')))],
    ['ended', () => desk(Promise.resolve(), Promise.reject(new Error('disk full')))],
  ])('is told also when its log cannot be %s', async (_, make) => {
    const { subject, log, exitTold } = make();
    subject.logs([piece]).catch(() => undefined);
    subject.news(exited);
    await exitTold;
    expect(log.atLeast(50).map(({ msg }) => msg)).toEqual(['the end of a log is lost']);
  });

  it('before the runner’s is told before it', async () => {
    const { subject, told } = desk(Promise.resolve());
    void subject.logs([piece]);
    subject.news(exited);
    await subject.runnerLost('gone');
    expect(told).toEqual(['written', 'log ended', 'exited', 'all logs ended', 'runner lost']);
  });
});

it('a publish on a node without a broker, or without a grant, is denied', async () => {
  const { subject } = desk(Promise.resolve());
  const item = { publishNo: 7, id: 'run', topic: 'a', length: 1, atMs: 0 };
  const [answer] = await subject.publishes('runner', [{ item, payload: new Uint8Array(1) }]);
  expect(answer).toMatchObject({ publishNo: 7, error: { case: 'permission-denied' } });
});
