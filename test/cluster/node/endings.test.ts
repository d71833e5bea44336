import { expect, test } from 'vitest';
import { Subscriber } from '../../support/subscriber.ts';
import { until } from '../../support/until.ts';
import { conditions, container, useWorld, type Terminated } from './world.ts';

const world = useWorld(['plain', 'stubborn', 'soil-sensor']);

const endings = { well: ['exit', '0'], badly: ['exit', '3'], trapped: ['trap'] } as const;
const exitCodes = { well: 0, badly: 3, trapped: 134 } as const;
type Ending = keyof typeof endings;
const all = Object.keys(endings) as Ending[];

test('a module ends for good or runs again as its restartPolicy says, with its own exit code', async () => {
  await using _node = await world().node();
  for (const restartPolicy of ['Never', 'OnFailure', 'Always'] as const)
    for (const ending of all)
      await world().pod(`${restartPolicy.toLowerCase()}-${ending}`, 'plain:1', {
        restartPolicy,
        args: endings[ending],
      });

  for (const name of [...all.map((ending) => `never-${ending}`), 'onfailure-well']) {
    const ending = name.split('-')[1] as Ending;
    const phase = ending === 'well' ? 'Succeeded' : 'Failed';
    const pod = await world().until('has ended', name, ({ status }) => status.phase === phase);
    const { state, restartCount, lastState, ready, started } = container(pod);
    expect({ name, restartCount, lastState, ready, started }).toEqual({
      name,
      restartCount: 0,
      lastState: {},
      ready: false,
      started: false,
    });
    expect(state.terminated).toMatchObject({
      exitCode: exitCodes[ending],
      reason: ending === 'well' ? 'Completed' : 'Error',
      containerID: container(pod).containerID,
    });
    expect(conditions(pod)).toMatchObject({
      PodScheduled: 'True',
      Ready: ending === 'well' ? 'False PodCompleted' : 'False PodFailed',
    });
    const events = await world().eventsUntil('an Event for the start', pod, (found) => found.length > 0);
    expect(events.map(({ reason, count }) => ({ reason, count }))).toEqual([{ reason: 'Started', count: 1 }]);
  }

  for (const name of ['onfailure-badly', 'onfailure-trapped', ...all.map((ending) => `always-${ending}`)]) {
    const exitCode = exitCodes[name.split('-')[1] as Ending];
    // The first restart is at once, the second 10 s later.
    const pod = await world().until('waits for its second restart', name, (found) => {
      const { restartCount, state } = container(found);
      return restartCount === 2 && state.waiting?.reason === 'CrashLoopBackOff';
    });
    expect(container(pod).state.waiting?.message).toContain(`10s`);
    expect(container(pod).lastState.terminated).toMatchObject({
      exitCode,
      reason: exitCode === 0 ? 'Completed' : 'Error',
    });
    expect(pod.status.phase).toBe('Running');
    expect(conditions(pod)).toMatchObject({ Ready: 'False ContainersNotReady', PodScheduled: 'True' });
    await world().eventsUntil('an Event for the back-off and two for starts', pod, (found) => {
      const counts = new Map(found.map(({ reason, count }) => [reason, count]));
      return counts.get('BackOff') === 1 && counts.get('Started') === 2;
    });
  }
  await world().until('is tried a third time', 'always-badly', (pod) => container(pod).restartCount === 3);
});

test('a Job completes when its module ends well, and fails when it does not', async () => {
  const { cluster } = world();
  await using _node = await world().node();
  const job = (name: string, args: readonly string[]): object => ({
    apiVersion: 'batch/v1',
    kind: 'Job',
    metadata: { name },
    spec: { backoffLimit: 0, template: world().template(name, 'plain:1', { restartPolicy: 'Never', args }) },
  });
  await cluster.apply(job('does', ['exit', '0']), job('does-not', ['exit', '3']));
  await cluster.kubectl('wait', 'job/does', '--for=condition=complete', '--timeout=30s');
  await cluster.kubectl('wait', 'job/does-not', '--for=condition=failed', '--timeout=30s');
  // Whoever runs a module once wants its exit code.
  const [failed] = await world().pods('does-not');
  expect(failed && container(failed).state.terminated?.exitCode).toBe(3);
});

test('a device that a finished pod held is free for the next', async () => {
  await using _node = await world().node();
  const options = { devices: { 'soil-moisture': 1 }, restartPolicy: 'Never', env: { COUNT: 1 } } as const;
  await world().pod('first', 'soil-sensor:1', options);
  await world().until('has ended', 'first', ({ status }) => status.phase === 'Succeeded');
  await world().pod('second', 'soil-sensor:1', options);
  await world().until('has ended too', 'second', ({ status }) => status.phase === 'Succeeded');
});

/** Keeps the object for us to read when the node has let it go. */
const finalizers = ['loamlet.dev/test'];

interface Deleted {
  terminated: Terminated;
  reasons: string[];
}

/** Deletes the pod; how it ended. */
async function remove(name: string, ...args: string[]): Promise<Deleted> {
  const { cluster } = world();
  await cluster.kubectl('delete', 'pod', name, '--wait=false', ...args);
  const pod = await world().until('has ended', name, (found) => container(found).state.terminated !== undefined);
  const events = await world().eventsUntil('an Event for the end', pod, (found) =>
    found.some(({ reason }) => reason === 'Killing'),
  );
  await until(`the node has let ${name} go`, async () => {
    const { metadata } = await cluster.get<{ metadata: { deletionGracePeriodSeconds?: number } }>('pod', name);
    return metadata.deletionGracePeriodSeconds === 0;
  });
  await cluster.kubectl('patch', 'pod', name, '--type=merge', '-p', '{"metadata":{"finalizers":null}}');
  await world().gone(name);
  return { terminated: container(pod).state.terminated as Terminated, reasons: events.map(({ reason }) => reason) };
}

test('a module that is told to stop has its grace for that', async () => {
  const { broker } = world();
  await using node = await world().node();
  await using subscriber = await Subscriber.open(broker.url, `loamlet/${node.name}/default/obeys/#`);
  await world().pod('obeys', 'stubborn:1', { args: ['obey'], graceSeconds: 30, finalizers });
  await world().pod('ignores', 'stubborn:1', { args: ['ignore'], graceSeconds: 2, finalizers });
  await world().pod('deaf', 'plain:1', { args: ['sleep'], graceSeconds: 30, finalizers });
  for (const name of ['obeys', 'ignores', 'deaf']) await world().running(name);

  const obeys = await remove('obeys');
  expect(obeys.terminated).toMatchObject({ exitCode: 0, reason: 'Completed' });
  expect(obeys.reasons.sort()).toEqual(['Killing', 'Started']);
  // Its last word, said after it was told.
  await subscriber.until((received) => received.some(({ payload }) => payload === 'bye'));

  const begun = Date.now();
  const { terminated } = await remove('ignores');
  expect(terminated).toMatchObject({ exitCode: 137, reason: 'Error' });
  expect(Date.parse(terminated.finishedAt)).toBeGreaterThanOrEqual(begun + 1000);
  expect(Date.parse(terminated.finishedAt)).toBeLessThan(begun + 8000);

  // It could not see it, so nothing is waited for.
  const asked = Date.now();
  const deaf = await remove('deaf');
  expect(deaf.terminated, node.agent.log).toMatchObject({ exitCode: 143, reason: 'Error' });
  expect(Date.parse(deaf.terminated.finishedAt)).toBeLessThan(asked + 8000);
});

test('kubectl delete waits for a pod to be gone, and a shorter grace overrides the longer', async () => {
  const { cluster } = world();
  await using node = await world().node();
  for (const name of ['patient', 'forced'])
    await world().pod(name, 'stubborn:1', { args: ['ignore'], graceSeconds: 600 });
  await world().running('patient');
  await world().running('forced');
  await cluster.kubectl('delete', 'pod', 'patient', '--wait=false');
  await world().until('is stopping', 'patient', ({ metadata }) => metadata.deletionTimestamp !== undefined);
  await cluster.kubectl('delete', 'pod', 'patient', '--grace-period=1', '--timeout=30s');
  // Gone from the API at once, and from the node as soon as it hears of it.
  await cluster.kubectl('delete', 'pod', 'forced', '--grace-period=0', '--force', '--timeout=30s');
  await until(
    'the node has no pods',
    async () => (await node.agent.status()).pods.length === 0,
    () => node.agent.log,
  );
});

test('a Deployment gives its device back when it is scaled down, and hands it on when it is restarted', async () => {
  const { cluster } = world();
  await using node = await world().node();
  await world().deployment('soil', 'soil-sensor:1', { devices: { 'soil-moisture': 1 }, env: { INTERVAL_MS: 100 } });
  const rolledOut = (): Promise<string> => cluster.kubectl('rollout', 'status', 'deployment/soil', '--timeout=40s');
  await rolledOut();
  const holder = async (): Promise<string | undefined> => (await node.agent.status()).devices[0]?.heldBy;
  const [first] = await world().pods('soil');
  expect(await holder()).toBe(`default/${first?.metadata.name}`);

  await cluster.kubectl('scale', 'deployment/soil', '--replicas=0');
  await until('there is no pod', async () => (await world().pods('soil')).length === 0);
  expect(await holder()).toBe('');
  await cluster.kubectl('scale', 'deployment/soil', '--replicas=1');
  await rolledOut();

  await cluster.kubectl('rollout', 'restart', 'deployment/soil');
  await rolledOut();
  const pods = await world().pods('soil');
  expect(pods).toHaveLength(1);
  expect(await holder()).toBe(`default/${pods[0]?.metadata.name}`);
});
