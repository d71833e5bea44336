import { once } from 'node:events';
import { readdirSync, renameSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { Mosquitto } from '../../support/mosquitto.ts';
import { NodeProcess } from '../../support/node-process.ts';
import { Subscriber } from '../../support/subscriber.ts';
import { until } from '../../support/until.ts';
import { podOf, soilSensor, useGuests } from './world.ts';

const guest = useGuests('plain', 'counter', 'stubborn');

/** What is left of a node that ended whole. */
function left(node: NodeProcess): unknown {
  return { processes: node.processes(), run: readdirSync(node.runDirectory).sort() };
}
const nothing = { processes: [], run: [] };

test('SIGTERM ends the agent alone: modules go on, and the next agent adopts them', async () => {
  await using mosquitto = await Mosquitto.start();
  await using node = await NodeProcess.start({ mqtt: { url: mosquitto.url } });
  node.apply(podOf('counter', guest('counter'), { env: { INTERVAL_MS: 20 } }));
  node.apply(podOf('sleeper', guest('plain')));
  await node.running('counter');
  await node.running('sleeper');
  const runner = await node.runnerPid();
  expect(await node.signal('SIGTERM')).toBe(0);
  expect(node.processes()).toEqual([expect.stringMatching(`^${runner} .*runner.mjs$`)]);
  await node.start();
  expect(await node.running('counter')).toMatchObject({ restarts: 0 });
  expect(await node.running('sleeper')).toMatchObject({ restarts: 0 });
  expect(await node.runnerPid()).toBe(runner);
  expect(node.log).toMatch(/"modules":2,"msg":"runner adopted"/);
});

test('a pod that is removed while no agent is there is stopped by the next one', async () => {
  await using node = await NodeProcess.start();
  node.apply(podOf('sleeper', guest('plain')));
  node.apply(podOf('stays', guest('plain')));
  await node.running('sleeper');
  await node.running('stays');
  await node.signal('SIGKILL');
  node.remove('sleeper');
  await node.start();
  await node.until('it is gone', ({ pods }) => pods.length === 1);
  await until('its log is gone', () => node.logFolders('sleeper').length === 0);
  expect(await node.running('stays')).toMatchObject({ restarts: 0 });
});

test.each(['SIGINT', 'loamlet stop'])(
  '%s ends agent, runner and modules, and leaves no process and no socket',
  async (how) => {
    await using mosquitto = await Mosquitto.start();
    await using last = await Subscriber.open(mosquitto.url, 'loamlet/loam-1/default/obedient/last');
    await using node = await NodeProcess.start({ mqtt: { url: mosquitto.url } });
    node.apply(podOf('sleeper', guest('plain')));
    node.apply(podOf('obedient', guest('stubborn'), { args: ['obey'] }));
    await node.running('sleeper');
    await node.untilPrinted('obedient', 'running');
    if (how === 'SIGINT') {
      expect(await node.signal('SIGINT')).toBe(0);
    } else {
      expect(await node.command('stop')).toEqual({ code: 0, stdout: '', stderr: '' });
      await until('the agent has ended', () => node.processes().length === 0);
    }
    expect(left(node)).toEqual(nothing);
    // What a module publishes while it is stopped goes out, and what it prints is kept.
    expect(last.payloads).toEqual(['bye']);
    expect(node.printed('obedient')).toEqual(['running', 'asked to stop']);
    expect(await node.command('status')).toMatchObject({
      code: 1,
      stdout: '',
      stderr: `error: no agent is running in ${node.runDirectory}: start one with loamlet node\n`,
    });
  },
);

test('ends whole when the broker takes connections and says nothing', async () => {
  const sockets: Socket[] = [];
  const silent = createServer((socket) => void sockets.push(socket.on('error', () => {}))).listen(0, '127.0.0.1');
  onTestFinished(() => {
    silent.close();
    for (const socket of sockets) socket.destroy();
  });
  await once(silent, 'listening');
  await using node = await NodeProcess.start({
    mqtt: { url: `mqtt://127.0.0.1:${(silent.address() as AddressInfo).port}` },
  });
  node.apply(podOf('counter', guest('counter'), { env: { INTERVAL_MS: 10 } }));
  await node.untilPrinted('counter', 'published 10');
  expect(sockets).toHaveLength(1);
  expect(await node.signal('SIGINT')).toBe(0);
  expect(left(node)).toEqual(nothing);
});

test('SIGINT at any moment of the start ends everything', async () => {
  for (const moment of [
    /"msg":"connected to the broker"/,
    /"msg":"runner started"/,
    /"msg":"loamlet runs"/,
    /"msg":"pod added"/,
  ]) {
    await using mosquitto = await Mosquitto.start();
    await using node = NodeProcess.prepare({ mqtt: { url: mosquitto.url } });
    node.apply(podOf('sleeper', guest('plain')));
    const { child, ended } = node.launch();
    await until(
      `${moment} is logged`,
      () => moment.test(node.log),
      () => node.log,
    );
    child.kill('SIGINT');
    const code = await ended;
    expect(code, node.log).toBe(0);
    expect(left(node)).toEqual(nothing);
  }
});

test('kill -9 of the runner: pods start again by their policy, with the end of their last run', async () => {
  await using node = await NodeProcess.start();
  node.apply(podOf('always', guest('plain')));
  node.apply(podOf('never', guest('plain'), { restartPolicy: 'Never' }));
  await node.running('always');
  await node.running('never');
  const runner = await node.runnerPid();
  process.kill(runner, 'SIGKILL');
  await node.pod('always', 'running again', ({ restarts, ready }) => restarts === 1 && ready === '1/1');
  expect(await node.pod('never', 'failed', ({ phase }) => phase === 'Failed')).toMatchObject({
    restarts: 0,
    reason: 'Error',
    message: 'the runner ended: SIGKILL',
  });
  expect(await node.runnerPid()).not.toBe(runner);
  expect(node.processes()).toHaveLength(2);
  // Its socket and its log went with it.
  expect(readdirSync(node.runDirectory)).toHaveLength(3);
});

test('the runner dies again and again: each time there is a next one, and Ctrl-C between two leaves nothing', async () => {
  await using node = await NodeProcess.start();
  let runner = 0;
  for (let round = 0; round < 3; round++) {
    await node.until('there is another runner', ({ runner: { pid } }) => pid !== undefined && pid !== runner);
    runner = await node.runnerPid();
    process.kill(runner, 'SIGKILL');
  }
  await node.until('there is none', (status) => status.runner.pid !== runner);
  expect(await node.signal('SIGINT')).toBe(0);
  expect(left(node)).toEqual(nothing);
});

test('both die at once: the next agent starts the pods again and tells how they ended', async () => {
  await using node = await NodeProcess.start();
  node.apply(podOf('always', guest('plain')));
  await node.running('always');
  process.kill(await node.runnerPid(), 'SIGKILL');
  await node.signal('SIGKILL');
  await node.start();
  await node.pod('always', 'running again', ({ restarts, ready }) => restarts === 1 && ready === '1/1');
  expect(readdirSync(node.runDirectory)).toHaveLength(3);
});

test('whenever the agent is killed while it starts, the next one has one runner and ends it whole', async () => {
  for (const moment of [
    /"msg":"embedded broker listens"/,
    /"msg":"connected to the broker"/,
    /"msg":"runner started"/,
    /"msg":"pod added"/,
  ]) {
    await using node = NodeProcess.prepare({ mqtt: { embedded: { port: 0 } } });
    node.apply(podOf('sleeper', guest('plain')));
    const { child, ended } = node.launch();
    await until(
      `${moment} is logged`,
      () => moment.test(node.log),
      () => node.log,
    );
    child.kill('SIGKILL');
    await ended;
    await node.start();
    expect(await node.running('sleeper')).toMatchObject({ restarts: 0 });
    // One that had started and was not noted yet ends by itself.
    await until(
      'there is one runner',
      () => node.processes().filter((line) => line.endsWith('runner.mjs')).length === 1,
    );
    expect(await node.signal('SIGINT')).toBe(0);
    expect(left(node)).toEqual(nothing);
  }
});

test('a second agent on the same directories is refused with one line and disturbs nothing', async () => {
  await using node = await NodeProcess.start();
  node.apply(podOf('sleeper', guest('plain')));
  await node.running('sleeper');
  const second = await node.command('node');
  expect(second.code).toBe(1);
  expect(second.stderr).toMatch(/^error: an agent is running already [^\n]*: stop it with loamlet stop, or [^\n]*\n$/);
  expect(await node.running('sleeper')).toMatchObject({ restarts: 0 });
  // Nor may it come with a run directory of its own.
  node.configure({ runDirectory: `${node.runDirectory}-2` });
  const third = await node.command('node');
  expect(third).toMatchObject({ code: 1, stderr: second.stderr });
  node.configure({});
});

test('answers who asks for the status while it starts', async () => {
  await using node = NodeProcess.prepare({ devices: [soilSensor()] });
  const { ended } = node.launch();
  let answers = 0;
  await until(
    'it runs',
    async () => {
      expect((await node.status()).nodeName).toBe('loam-1');
      answers++;
      return node.log.includes('"loamlet runs"');
    },
    () => node.log,
  );
  expect(answers).toBeGreaterThan(1);
  await node.signal('SIGINT');
  expect(await ended).toBe(0);
});

test('a second Ctrl-C ends the agent at once, and the runner at the end of the grace', async () => {
  await using node = await NodeProcess.start({ mqtt: { embedded: { port: 0 } } });
  node.apply(podOf('deaf', guest('stubborn'), { args: ['ignore'] }));
  await node.untilPrinted('deaf', 'running');
  process.kill(node.pid, 'SIGINT');
  await until('it stops', () => node.log.includes('stopping: modules end'));
  expect(await node.signal('SIGINT')).toBe(130);
  await until('nothing is left', () => node.processes().length === 0);
});

test('of four agents that start at once, one runs', async () => {
  await using node = NodeProcess.prepare();
  const agents = Array.from({ length: 4 }, () => node.launch());
  await until(
    'three have ended',
    () => agents.filter(({ child }) => child.exitCode !== null).length === 3,
    () => node.log,
  );
  const [refused, ...more] = node.log.split('\n').filter((line) => line.startsWith('error: '));
  expect(refused).toContain('an agent is running already');
  expect(more).toHaveLength(2);
  await node.until('the fourth runs', ({ runner }) => runner.pid !== undefined);
  agents.find(({ child }) => child.exitCode === null)?.child.kill('SIGINT');
  expect((await Promise.all(agents.map(({ ended }) => ended))).sort((a, b) => a - b)).toEqual([0, 1, 1, 1]);
  expect(left(node)).toEqual(nothing);
});

test('a module that does not listen is ended at its grace, one that does ends by itself', async () => {
  await using mosquitto = await Mosquitto.start();
  await using last = await Subscriber.open(mosquitto.url, 'loamlet/+/default/+/last');
  await using node = await NodeProcess.start({ mqtt: { url: mosquitto.url } });
  node.apply(podOf('deaf', guest('stubborn'), { args: ['ignore'], graceSeconds: 2 }));
  node.apply(podOf('obedient', guest('stubborn'), { args: ['obey'], graceSeconds: 30 }));
  await node.untilPrinted('deaf', 'running');
  await node.untilPrinted('obedient', 'running');
  const asked = performance.now();
  node.remove('deaf');
  node.remove('obedient');
  await node.until('the obedient one is gone', ({ pods }) => pods.every(({ name }) => name !== 'obedient'));
  await last.count(1);
  await node.until('the deaf one is gone', ({ pods }) => pods.length === 0);
  const took = performance.now() - asked;
  expect(took).toBeGreaterThanOrEqual(2000);
  expect(took).toBeLessThan(15_000);
  await until('their logs are gone', () => readdirSync(node.logDirectory).length === 0);
});

test('a module in an endless loop costs one runner: it is ended, and the other pods come back', async () => {
  await using node = await NodeProcess.start({ runner: { unresponsiveSeconds: 2 } });
  node.apply(podOf('sleeper', guest('plain')));
  await node.running('sleeper');
  const runner = await node.runnerPid();
  node.apply(podOf('spinner', guest('plain'), { args: ['spin'], restartPolicy: 'Never' }));
  expect(await node.pod('spinner', 'failed', ({ phase }) => phase === 'Failed')).toMatchObject({ restarts: 0 });
  await node.pod('sleeper', 'running again', ({ restarts, ready }) => restarts === 1 && ready === '1/1');
  expect(await node.runnerPid()).not.toBe(runner);
  expect(node.log).toMatch(/the runner was ended: a module held it for \d s/);
});

test('Ctrl-C ends a node whose runner is held by an endless loop', async () => {
  await using node = await NodeProcess.start({ runner: { unresponsiveSeconds: 2 } });
  node.apply(podOf('spinner', guest('plain'), { args: ['spin'], restartPolicy: 'Never' }));
  await node.running('spinner');
  expect(await node.signal('SIGINT')).toBe(0);
  expect(left(node)).toEqual(nothing);
});

test('the next agent ends a runner that an endless loop holds', async () => {
  await using node = await NodeProcess.start();
  node.apply(podOf('spinner', guest('plain'), { args: ['spin'], restartPolicy: 'Never' }));
  await node.running('spinner');
  await node.signal('SIGKILL');
  await node.start();
  await node.pod('spinner', 'failed', ({ phase }) => phase === 'Failed');
  expect(node.log).toContain('runner of an earlier agent ended: it is of no use');
  expect(node.processes()).toHaveLength(2);
});

test('Ctrl-C is not held up by a runner that can not be started', async () => {
  await using node = await NodeProcess.start();
  const runner = await node.runnerPid();
  renameSync(node.runDirectory, `${node.runDirectory}-away`);
  writeFileSync(node.runDirectory, 'no folder');
  process.kill(runner, 'SIGKILL');
  await until(
    'it is tried again',
    () => node.log.includes('no runner: trying again'),
    () => node.log,
  );
  expect(await node.signal('SIGINT')).toBe(0);
  expect(node.processes()).toEqual([]);
});
