import { readFile, writeFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { Subscriber } from '../../support/subscriber.ts';
import { until } from '../../support/until.ts';
import { conditions, container, isReady, useWorld, type PodObject } from './world.ts';

const world = useWorld(['plain', 'soil-sensor']);

const soil = { devices: { 'soil-moisture': 1 }, env: { INTERVAL_MS: 100 } };

/** What must not change while the cluster or the agent is away. */
function life(pod: PodObject): object {
  const { containerID, restartCount, state } = container(pod);
  return { uid: pod.metadata.uid, containerID, restartCount, startedAt: state.running?.startedAt };
}

test('pods go on while the API server is away, and are told of when it is back', async () => {
  const { broker } = world();
  await using node = await world().node();
  await using subscriber = await Subscriber.open(broker.url, `loamlet/${node.name}/default/#`);
  await world().pod('soil', 'soil-sensor:1', soil);
  // Ends while nobody can be told.
  await world().pod('brief', 'plain:1', {
    args: ['sleep'],
    restartPolicy: 'Never',
    spec: { activeDeadlineSeconds: 6 },
  });
  const before = life(await world().running('soil'));
  await world().running('brief');
  await world().pause();
  try {
    await until(
      'the node notices',
      async () => (await node.agent.status()).cluster?.state === 'not in touch',
      () => node.agent.log,
    );
    await subscriber.count(subscriber.received.length + 5);
    await node.agent.pod('brief', 'over', ({ phase }) => phase === 'Failed');
  } finally {
    await world().resume();
  }
  const brief = await world().until('is told to have ended', 'brief', ({ status }) => status.phase === 'Failed');
  expect(brief.status.reason).toBe('DeadlineExceeded');
  await node.ready();
  expect(life(await world().running('soil'))).toEqual(before);
  await subscriber.count(subscriber.received.length + 2);
  // The node is at work again.
  await world().pod('after', 'plain:1', { args: ['exit', '0'], restartPolicy: 'Never' });
  await world().until('has ended', 'after', ({ status }) => status.phase === 'Succeeded');
});

test('an agent that was killed finds its pods running, and finished ones do not run again', async () => {
  const { cluster } = world();
  await using node = await world().node();
  await node.approve();
  await world().pod('soil', 'soil-sensor:1', soil);
  await world().pod('done', 'plain:1', { args: ['exit', '0'], restartPolicy: 'Never' });
  await world().pod('deleted', 'plain:1', { args: ['sleep'], graceSeconds: 0 });
  const soilBefore = life(await world().running('soil'));
  await world().running('deleted');
  const done = await world().until('has ended', 'done', ({ status }) => status.phase === 'Succeeded');
  expect(await node.agent.signal('SIGKILL')).toBe(137);
  await cluster.kubectl('delete', 'pod', 'deleted', '--wait=false');
  await node.agent.start();
  await world().gone('deleted');
  expect(life(await world().running('soil'))).toEqual(soilBefore);
  const doneAfter = await world().get('done');
  expect(container(doneAfter)).toEqual(container(done));
  expect(doneAfter.metadata.uid).toBe(done.metadata.uid);
  // What it printed before, and since.
  const lines = async (): Promise<number> => (await cluster.kubectl('logs', 'soil')).split('\n').length;
  const first = await lines();
  await until('it goes on printing', async () => (await lines()) > first + 5);
});

test('after a power cut with the API server away, known pods start from disk', async () => {
  const { broker } = world();
  await using node = await world().node();
  await using subscriber = await Subscriber.open(broker.url, `loamlet/${node.name}/default/#`);
  await world().pod('soil', 'soil-sensor:1', soil);
  await world().pod('done', 'plain:1', { args: ['exit', '0'], restartPolicy: 'Never' });
  const { uid } = (await world().running('soil')).metadata;
  const done = await world().until('has ended', 'done', ({ status }) => status.phase === 'Succeeded');
  await world().pause();
  try {
    const runner = await node.agent.runnerPid();
    await node.agent.signal('SIGKILL');
    process.kill(runner, 'SIGKILL');
    const seen = subscriber.received.length;
    await node.agent.start();
    await node.agent.running('soil');
    await subscriber.count(seen + 3);
  } finally {
    await world().resume();
  }
  const pod = await world().until(
    'is told of',
    'soil',
    (found) => isReady(found) && container(found).restartCount === 1,
  );
  expect(pod.metadata.uid).toBe(uid);
  expect(container(await world().get('done'))).toEqual(container(done));
});

test('a deleted node is back with its pods', async () => {
  const { cluster } = world();
  await using node = await world().node();
  await world().pod('soil', 'soil-sensor:1', soil);
  const before = life(await world().running('soil'));
  const { uid } = (await node.object()).metadata;
  await cluster.kubectl('delete', 'node', node.name);
  await until(
    'the node is back',
    async () => (await node.object()).metadata.uid !== uid,
    () => node.agent.log,
  );
  await node.ready();
  const { spec, status } = await node.object();
  expect(spec.taints.map(({ effect }) => effect).sort()).toEqual(['NoExecute', 'NoSchedule']);
  expect(status.capacity['loamlet.dev/soil-moisture']).toBe('1');
  expect(life(await world().running('soil'))).toEqual(before);
});

test('a wrong token is one line in the log, static pods run, and a right one is taken up', async () => {
  const { cluster } = world();
  const reference = world().reference('plain:1');
  const path = await cluster.bootstrapKubeconfigWith('aaaaaa.bbbbbbbbbbbbbbbb');
  await using node = world().prepare({}, path);
  const manifest = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'static' },
    spec: { containers: [{ name: 'c', image: reference, args: ['sleep'] }] },
  };
  node.agent.apply(manifest);
  await node.agent.start();
  await node.agent.running('static');
  await until(
    'it says so',
    () => node.agent.log.includes('is wrong or has expired'),
    () => node.agent.log,
  );
  const { cluster: touch } = await node.agent.status();
  expect(touch?.state).toBe('not in touch');
  expect(touch?.message).toContain(`the bootstrap token in ${path} is wrong or has expired`);
  const errors = node.agent.log
    .split('\n')
    .filter((line) => line.includes('"level":50') || line.includes('"level":"error"'));
  expect(errors).toHaveLength(1);
  expect(errors[0]).toContain('kubeadm token create');
  await writeFile(path, await readFile(cluster.bootstrapKubeconfig));
  await node.ready();
  await node.agent.running('static');
  expect((await node.agent.status()).cluster?.state).toBe('in touch');
});

test('an expired token is named as one', async () => {
  const { cluster } = world();
  await cluster.apply({
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name: 'bootstrap-token-cccccc', namespace: 'kube-system' },
    type: 'bootstrap.kubernetes.io/token',
    stringData: {
      'token-id': 'cccccc',
      'token-secret': 'dddddddddddddddd',
      'usage-bootstrap-authentication': 'true',
      expiration: new Date(Date.now() - 60_000).toISOString(),
    },
  });
  await using node = world().prepare({}, await cluster.bootstrapKubeconfigWith('cccccc.dddddddddddddddd'));
  await node.agent.start();
  await until(
    'it says so',
    () => node.agent.log.includes('is wrong or has expired'),
    () => node.agent.log,
  );
});

test('a node of a cluster that was not there at its start joins when it is', async () => {
  await world().pause();
  let resumed = false;
  try {
    await using node = world().prepare();
    await node.agent.start();
    await until('it says so', async () => (await node.agent.status()).cluster?.state === 'not in touch');
    await world().resume();
    resumed = true;
    await node.ready();
    await world().pod('soil', 'soil-sensor:1', soil);
    expect(conditions(await world().running('soil'))['PodScheduled']).toBe('True');
  } finally {
    if (!resumed) await world().resume();
  }
});
