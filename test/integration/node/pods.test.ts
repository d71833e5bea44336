import { readdirSync } from 'node:fs';
import { expect, test } from 'vitest';
import type { NodeStatus } from '../../../src/observe/node-status.ts';
import { Mosquitto } from '../../support/mosquitto.ts';
import { NodeProcess } from '../../support/node-process.ts';
import { Subscriber } from '../../support/subscriber.ts';
import { until } from '../../support/until.ts';
import { podOf, soilSensor, useGuests } from './world.ts';

const guest = useGuests('plain', 'counter', 'stubborn', 'soil-sensor');

test('restartPolicy decides what follows an exit code, and status shows the back-off', async () => {
  await using node = await NodeProcess.start();
  const endings = { exit0: ['exit', '0'], exit3: ['exit', '3'], trap: ['trap'] };
  for (const [name, args] of Object.entries(endings)) {
    for (const restartPolicy of ['Never', 'OnFailure', 'Always'] as const) {
      node.apply(podOf(`${name}-${restartPolicy.toLowerCase()}`, guest('plain'), { args, restartPolicy }));
    }
  }
  // The first restart comes at once, the second after 10 s of back-off.
  const settled = ({ phase, restarts, reason }: NodeStatus['pods'][number]): boolean =>
    phase === 'Succeeded' || phase === 'Failed' || (restarts === 2 && reason === 'CrashLoopBackOff');
  await node.until('all have settled', ({ pods }) => pods.length === 9 && pods.every(settled));

  const { stdout } = await node.command('status', '-o', 'json');
  const { pods } = JSON.parse(stdout) as NodeStatus;
  const shown = Object.fromEntries(
    pods.map(({ name, phase, restarts, reason, message }) => [
      name,
      [phase, restarts, reason, message].join(' ').trim(),
    ]),
  );
  const backOff = (code: number): string =>
    `Running 2 CrashLoopBackOff back-off 10s restarting the module, which ended with exit code ${code}`;
  expect(shown).toMatchObject({
    'exit0-never': 'Succeeded 0 Completed',
    'exit0-onfailure': 'Succeeded 0 Completed',
    'exit0-always': backOff(0),
    'exit3-never': 'Failed 0 Error',
    'exit3-onfailure': backOff(3),
    'exit3-always': backOff(3),
    'trap-onfailure': backOff(134),
    'trap-always': backOff(134),
  });
  expect(shown['trap-never']).toMatch(/^Failed 0 Error .*unreachable/);
  // Each run has its log file; the reason of a trap is its last line.
  expect(node.printed('exit3-always', 1)).toEqual(['exit']);
  expect(node.logFile('trap-never').split('\n')).toEqual([
    expect.stringMatching(/ stdout F trap$/),
    expect.stringMatching(/ stderr F .*unreachable/),
    '',
  ]);
});

test('one hundred modules run at once and publish', async () => {
  await using mosquitto = await Mosquitto.start();
  await using subscriber = await Subscriber.open(mosquitto.url, 'loamlet/loam-1/default/+/count');
  await using node = await NodeProcess.start({ mqtt: { url: mosquitto.url } });
  const names = Array.from({ length: 100 }, (_, index) => `counter-${index}`);
  const begun = performance.now();
  for (const name of names) node.apply(podOf(name, guest('counter'), { env: { INTERVAL_MS: 1000 } }));
  await node.until('all are running', ({ pods }) => pods.filter(({ ready }) => ready === '1/1').length === 100);
  const runningMs = Math.round(performance.now() - begun);
  const topics = (): Set<string> => new Set(subscriber.received.map(({ topic }) => topic));
  await until(
    'all have published',
    () => topics().size === 100,
    () => `${topics().size} have\n${node.log}`,
  );
  console.log(
    `100 modules: all running after ${runningMs} ms, all published after ${Math.round(performance.now() - begun)} ms`,
  );
  // The next agent has them all, as they are.
  await node.signal('SIGKILL');
  await node.start();
  const { pods } = await node.status();
  expect(
    pods.filter(({ restarts, phase, ready }) => restarts === 0 && phase === 'Running' && ready === '1/1'),
  ).toHaveLength(100);
  const published = subscriber.received.length;
  await until('they go on publishing', () => subscriber.received.length >= published + 100);
  expect(await node.signal('SIGINT')).toBe(0);
  expect(node.processes()).toEqual([]);
});

test('a pod that is removed from the folder stops, and its log goes', async () => {
  await using node = await NodeProcess.start();
  node.apply(podOf('sleeper', guest('plain')));
  await node.untilPrinted('sleeper', 'sleep');
  node.remove('sleeper');
  await node.until('it is gone', ({ pods }) => pods.length === 0);
  await until('its log is gone', () => readdirSync(node.logDirectory).length === 0);
});

test('a manifest that changes replaces its pod; one that comes back is the same pod anew', async () => {
  await using node = await NodeProcess.start();
  const old = podOf('app', guest('plain'), { args: ['sleep'] });
  node.apply(old);
  await node.untilPrinted('app', 'sleep');
  const [before] = node.logFolders('app');
  // One that takes its time to go, so that old and new overlap.
  node.apply(podOf('app', guest('plain'), { args: ['asleep'] }));
  await until('its log is gone', () => !node.logFolders('app').includes(before ?? ''));
  await node.untilPrinted('app', 'asleep');
  expect(await node.running('app')).toMatchObject({ restarts: 0 });
  node.apply(old);
  await until('the first is back', () => node.logFolders('app').length === 1 && node.printed('app').includes('sleep'));
});

test('two pods want one sensor: the second waits, is told who has it, and starts when it is free', async () => {
  await using mosquitto = await Mosquitto.start();
  await using node = await NodeProcess.start({ devices: [soilSensor()], mqtt: { url: mosquitto.url } });
  const wish = { devices: { 'soil-moisture': 1 }, env: { INTERVAL_MS: 1000 } };
  node.apply(podOf('first', guest('soil-sensor'), wish));
  await node.running('first');
  node.apply(podOf('second', guest('soil-sensor'), wish));
  const denied = await node.pod('second', 'denied', ({ reason }) => reason === 'GrantDenied');
  expect(denied).toMatchObject({
    phase: 'Pending',
    message: 'every soil-moisture of this node is held by pod default/first',
  });
  // Also after the agent has come anew.
  await node.signal('SIGKILL');
  await node.start();
  await node.pod('second', 'denied', ({ reason }) => reason === 'GrantDenied');
  expect(await node.running('first')).toMatchObject({ restarts: 0 });
  const freed = performance.now();
  node.remove('first');
  await node.running('second');
  expect(performance.now() - freed).toBeLessThan(9_000); // its back-off alone would be 10 s
  expect((await node.status()).devices).toMatchObject([{ name: 'bed-3', heldBy: 'default/second' }]);
});

test('a pod with two containers runs both; one that is refused holds the pod pending', async () => {
  await using node = await NodeProcess.start();
  const pod = podOf('pair', guest('plain'));
  const [c] = (pod.spec as { containers: object[] }).containers;
  node.apply({
    ...pod,
    spec: { containers: [c, { ...c, name: 'd', args: ['exit', '0'] }], restartPolicy: 'OnFailure' },
  });
  await node.pod('pair', 'half done', ({ ready, phase }) => ready === '1/2' && phase === 'Running');
  node.apply({ ...pod, spec: { containers: [c, { ...c, name: 'd', image: 'file:///nowhere.wasm' }] } });
  expect(await node.pod('pair', 'refused', ({ reason }) => reason === 'ErrImagePull')).toMatchObject({
    phase: 'Pending',
    ready: '1/2',
    message: "module file /nowhere.wasm can't be read (ENOENT): check the path and who may read it",
  });
});

test('more pods than there is room for wait for room', async () => {
  await using node = await NodeProcess.start({ pods: { maxPods: 2 } });
  for (const name of ['a', 'b', 'c']) node.apply(podOf(name, guest('plain')));
  await node.until('two run', ({ pods }) => pods.filter(({ ready }) => ready === '1/1').length === 2);
  expect(node.log).toMatch(/"pod":"default\/c".*the node is full/);
  node.remove('a');
  await node.running('c');
});
