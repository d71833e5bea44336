import { readFile, stat } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { RunnerClient } from '../../../src/runner/client.ts';
import { RunnerError } from '../../../src/runner/runner-error.ts';
import { guest } from '../../support/guests.ts';
import { hello, program, sleeper, spinning } from '../../support/tiny-guests.ts';
import { RunnerWorld, TestReceiver } from '../../support/runner-world.ts';
import { assemble, i32, op } from '../../support/assemble.ts';

const messaging = { publish: [{ filter: 'garden/#', qos: 1, retain: false }] } as const;

/** Publishes `garden/bed` until it gets an error, and exits with that case; 0 after `count`. */
function publisher(count: number): Uint8Array {
  const publish = [...op.i32(1024), ...op.i32(10), ...op.i32(1040), ...op.i32(2), ...op.i32(64), ...op.call(0)];
  return assemble({
    imports: [{ module: 'loamlet:host/messaging@0.1.0', name: 'publish', params: [i32, i32, i32, i32, i32] }],
    memory: { min: 1 },
    functions: [{ export: '_start', body: Array.from({ length: count }, () => publish).flat() }],
    data: [
      { at: 1024, bytes: 'garden/bed' },
      { at: 1040, bytes: '42' },
    ],
  });
}

describe('a runner whose agent goes away', () => {
  it('goes on, and tells the next agent what runs, what has ended and every line of its log', async () => {
    await using world = await RunnerWorld.open();
    world.listen();
    const everyday = await guest('c', 'everyday');
    const module = await world.container(everyday, { id: 'ending', args: ['everyday', '300', '5'] });
    const sleeping = await world.start(sleeper);
    await world.receiver.heard(sleeping, 'started');
    world.client.start(module);
    await world.receiver.heard('ending', 'started');
    const first = world.receiver;
    await world.adopt();
    expect(world.client.reports.map(({ id }) => id).toSorted()).toEqual(['ending', sleeping]);
    world.listen();
    await world.receiver.until(
      () => world.client.reports.some(({ state }) => state === 'exited') || world.receiver.messages.length > 0,
    );
    expect(first.text('ending') + world.receiver.text('ending')).toContain('slept enough\n');
    await world.adopt();
    expect(world.client.reports).toContainEqual(
      expect.objectContaining({ id: 'ending', state: 'exited', exitCode: 5 }),
    );
    world.listen();
    world.client.forget('ending');
    await world.adopt();
    expect(world.client.reports).toEqual([expect.objectContaining({ id: sleeping, state: 'running' })]);
  });

  it('sends a publish again that no agent has answered, under the same number', async () => {
    await using world = await RunnerWorld.open();
    world.receiver.answer = () => new Promise(() => {}); // it dies before the commit
    world.listen();
    const id = await world.start(publisher(2), { grant: { devices: [], messaging } });
    const [first] = await world.receiver.until(() => world.receiver.published.length > 0 && world.receiver.published);
    await world.adopt();
    world.listen();
    expect(await world.receiver.exit(id)).toMatchObject({ exitCode: 0 });
    expect(world.receiver.published.map(({ item }) => item.publishNo)).toEqual([
      first!.item.publishNo,
      first!.item.publishNo + 1,
    ]);
    expect(world.receiver.published[0]).toMatchObject({ text: '42', item: { topic: 'garden/bed', id } });
  });

  it('refuses a second agent while the first lives, and one with another token', async () => {
    await using world = await RunnerWorld.open();
    world.listen();
    const { record } = world.client;
    const options = { directory: world.folder, log: world.log.log };
    await expect(RunnerClient.adopt(record, options)).rejects.toMatchObject({ code: 'RunnerBusy' });
    await world.client[Symbol.asyncDispose]();
    await expect(RunnerClient.adopt({ ...record, token: 'guessed' }, options)).rejects.toMatchObject({
      code: 'RunnerRefused',
    });
  });

  it('has a socket that nobody else may use', async () => {
    await using world = await RunnerWorld.open();
    expect((await stat(world.client.record.socketPath)).mode & 0o777).toBe(0o600);
  });
});

describe('the end of a runner', () => {
  it('is reported when it is killed, and its traces are removed', async () => {
    await using world = await RunnerWorld.open();
    world.listen();
    await world.receiver.heard(await world.start(sleeper), 'started');
    process.kill(world.client.record.pid, 'SIGKILL');
    expect(await world.client.closed).toEqual({ kind: 'died', message: 'the runner ended: SIGKILL' });
    const options = { directory: world.folder, log: world.log.log };
    await expect(RunnerClient.adopt(world.client.record, options)).rejects.toBeInstanceOf(RunnerError);
  });

  it('comes at shutdown, after the last line and exit of every module', async () => {
    await using world = await RunnerWorld.open();
    world.listen();
    const id = await world.start(sleeper);
    await world.receiver.heard(id, 'started');
    expect(await world.client.shutdown(1_000)).toMatchObject({
      kind: 'died',
      message: 'the runner ended: exit code 0',
    });
    expect(world.receiver.text(id)).toBe('hello\n');
    expect(await world.receiver.exit(id)).toMatchObject({ exitCode: 143 });
  });

  it('comes with SIGTERM too', async () => {
    await using world = await RunnerWorld.open();
    world.listen();
    const id = await world.start(sleeper);
    await world.receiver.heard(id, 'started');
    process.kill(world.client.record.pid, 'SIGTERM');
    expect(await world.client.closed).toMatchObject({ kind: 'died', message: 'the runner ended: exit code 0' });
    expect(await world.receiver.exit(id)).toMatchObject({ exitCode: 143 });
  });

  it('can be brought about when a module holds it in an endless loop', async () => {
    await using world = await RunnerWorld.open({ unresponsiveMs: 300 });
    const silent = new Promise<number>((resolve) => world.client.listen(new TestReceiver(), resolve));
    await world.start(spinning);
    expect(await silent).toBeGreaterThanOrEqual(300);
    world.client.kill();
    expect(await world.client.closed).toMatchObject({ kind: 'died', message: 'the runner ended: SIGKILL' });
  });
});

it('keeps the order of lines over a lost connection', async () => {
  await using world = await RunnerWorld.open();
  world.listen();
  const id = await world.start(
    program(({ print, sleep }) => Array.from({ length: 50 }, () => [...print, ...sleep(5)]).flat()),
  );
  await world.receiver.until(() => world.receiver.text(id).length >= 60);
  const before = world.receiver;
  await world.adopt();
  world.listen();
  await world.receiver.exit(id);
  // What the first agent had but did not confirm in time comes again; nothing is missing.
  expect((before.text(id) + world.receiver.text(id)).length).toBeGreaterThanOrEqual(300);
  expect((before.text(id) + world.receiver.text(id)).replaceAll('hello\n', '')).toBe('');
});

it.runIf(process.getuid!() === 0)('runs modules as the user it is given, for good', async () => {
  await using world = await RunnerWorld.open({ user: 'nobody' });
  world.listen();
  const status = await readFile(`/proc/${world.client.record.pid}/status`, 'utf8');
  expect(status).toMatch(/^Uid:\t65534\t65534\t65534\t65534$/m);
  expect(status).toMatch(/^Gid:\t65534\t65534\t65534\t65534$/m);
  expect(status).toMatch(/^CapEff:\t0+$/m);
  expect(await world.receiver.exit(await world.start(hello))).toMatchObject({ exitCode: 0 });
});

it('says in one line why it could not start a runner', async () => {
  await expect(RunnerWorld.open({ user: 'no-such-user' })).rejects.toMatchObject({
    code: 'LaunchFailed',
    message: expect.stringContaining('no-such-user'),
  });
});
