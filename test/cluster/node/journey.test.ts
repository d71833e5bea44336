import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import https from 'node:https';
import { expect, test } from 'vitest';
import { hostAddress } from '../../support/member.ts';
import { Subscriber } from '../../support/subscriber.ts';
import { until } from '../../support/until.ts';
import { conditions, container, soilSensor, useWorld, type PodObject } from './world.ts';

const world = useWorld(['soil-sensor', 'counter', 'plain']);

test('a Deployment is scheduled, pulled and Ready, and its readings reach the broker', async () => {
  const { cluster, registry, broker } = world();
  await using node = await world().node({ devices: [soilSensor('bed-3'), soilSensor('bed-4')] });
  await using subscriber = await Subscriber.open(broker.url, `loamlet/${node.name}/default/#`);
  await world().deployment('soil', 'soil-sensor:1', { devices: { 'soil-moisture': 1 }, env: { INTERVAL_MS: 200 } });
  expect(await cluster.kubectl('rollout', 'status', 'deployment/soil', '--timeout=60s')).toContain(
    'successfully rolled out',
  );
  const label = 'app.kubernetes.io/name=soil';
  await cluster.kubectl('wait', 'pod', '-l', label, '--for=condition=Ready', '--timeout=30s');
  await subscriber.count(3);
  const reading = subscriber.received[0];
  expect(reading?.topic).toBe(`loamlet/${node.name}/default/soil/soil-moisture`);
  expect(JSON.parse(reading?.payload ?? '')).toMatchObject({ value: 41.5, unit: '%' });

  const { items } = await cluster.get<{ items: PodObject[] }>('pods', '-l', label);
  expect(items).toHaveLength(1);
  const pod = items[0] as PodObject;
  expect(conditions(pod)).toEqual({
    PodScheduled: 'True',
    PodReadyToStartContainers: 'True',
    Initialized: 'True',
    ContainersReady: 'True',
    Ready: 'True',
  });
  expect(pod.status).toMatchObject({
    phase: 'Running',
    hostIP: hostAddress,
    qosClass: 'BestEffort',
    observedGeneration: pod.metadata.generation,
  });
  expect(pod.status.startTime).toMatch(/^20\d\d-.*Z$/);
  expect(container(pod)).toEqual({
    name: 'c',
    image: `${registry.host}/soil-sensor:1`,
    imageID: expect.stringMatching(
      new RegExp(`^${registry.host.replaceAll('.', '\\.')}/soil-sensor@sha256:[0-9a-f]{64}$`),
    ) as string,
    containerID: expect.stringMatching(/^loamlet:\/\/[-0-9a-f]{36}$/) as string,
    ready: true,
    started: true,
    restartCount: 0,
    state: { running: { startedAt: expect.stringMatching(/Z$/) as string } },
    lastState: {},
    allocatedResourcesStatus: [
      {
        name: 'loamlet.dev/soil-moisture',
        resources: [{ resourceID: expect.stringMatching(/^bed-[34]$/), health: 'Healthy' }],
      },
    ],
  });
  const events = await world().eventsUntil('an Event for the start', pod, (found) =>
    found.some(({ reason }) => reason === 'Started'),
  );
  expect(events).toEqual([
    expect.objectContaining({
      reason: 'Started',
      type: 'Normal',
      count: 1,
      involvedObject: expect.objectContaining({ fieldPath: 'spec.containers{c}' }) as unknown,
    }),
  ]);
  expect(await cluster.kubectl('get', 'pods', '-o', 'wide')).toMatch(
    new RegExp(`^soil-\\S+ +1/1 +Running +0 .* ${node.name} `, 'm'),
  );
});

test('the node says what it is and what it offers', async () => {
  await using node = await world().node({ devices: [soilSensor('bed-3'), soilSensor('bed-4')] });
  const { metadata, spec, status } = await node.object();
  expect(metadata.labels).toMatchObject({
    'kubernetes.io/arch': 'wasm32-wasi',
    'kubernetes.io/os': 'wasm32-wasi',
    'kubernetes.io/hostname': node.name,
  });
  expect(spec.taints).toEqual([
    { key: 'kubernetes.io/arch', value: 'wasm32-wasi', effect: 'NoSchedule' },
    { key: 'kubernetes.io/arch', value: 'wasm32-wasi', effect: 'NoExecute' },
  ]);
  expect(status.capacity).toMatchObject({ 'loamlet.dev/soil-moisture': '2', pods: '1100' });
  expect(status.allocatable).toMatchObject({ 'loamlet.dev/soil-moisture': '2' });
  expect(await world().cluster.kubectl('get', 'nodes')).toMatch(new RegExp(`^${node.name} +Ready `, 'm'));
});

test('kubectl logs shows, cuts, dates and follows what a module prints', async () => {
  const { cluster } = world();
  await using node = await world().node();
  await node.approve();
  await world().pod('counts', 'counter:1', { env: { INTERVAL_MS: 100 }, graceSeconds: 0 });
  await world().running('counts');
  await until('it has printed', async () => (await cluster.kubectl('logs', 'counts')).includes('published 3\n'));
  expect(await cluster.kubectl('logs', 'counts')).toMatch(/^published 1\npublished 2\npublished 3\n/);
  expect(await cluster.kubectl('logs', 'counts', '--tail=1')).toMatch(/^published \d+\n$/);
  expect((await cluster.kubectl('logs', 'counts', '--timestamps')).split('\n')[0]).toMatch(
    /^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+(Z|[-+]\d\d:\d\d) published 1$/,
  );
  await expect(cluster.kubectl('logs', 'counts', '--previous')).rejects.toThrow(/no (earlier|previous)|previous/);

  const follower = cluster.startKubectl('logs', '-f', '--tail=1', 'counts');
  const exited = once(follower, 'exit');
  let seen = '';
  follower.stdout.on('data', (bytes: Buffer) => (seen += bytes.toString()));
  await until('the follower sees new lines', () => seen.split('\n').length > 5);
  const numbers = seen
    .split('\n')
    .slice(0, 5)
    .map((line) => Number(line.replace('published ', '')));
  expect(numbers).toEqual(numbers.map((_, index) => (numbers[0] ?? 0) + index));
  await cluster.kubectl('delete', 'pod', 'counts', '--wait=false');
  expect(await exited).toEqual([0, null]);
  await world().gone('counts');

  await world().pod('fails', 'plain:1', { args: ['exit', '3'] });
  await world().waiting('fails', 'CrashLoopBackOff');
  expect(await cluster.kubectl('logs', 'fails')).toBe('exit\n');
  expect(await cluster.kubectl('logs', 'fails', '--previous')).toBe('exit\n');
  await expect(cluster.kubectl('logs', 'fails', '-c', 'other')).rejects.toThrow('other');
});

test('the kubelet port is closed to strangers and to nodes', async () => {
  await using node = await world().node();
  const port = (await node.object()).status.daemonEndpoints.kubeletEndpoint.Port;
  const ask = async (path: string, tls: https.RequestOptions = {}): Promise<number | undefined> => {
    const agent = new https.Agent();
    const request = https.request({ host: hostAddress, port, path, rejectUnauthorized: false, agent, ...tls });
    request.end();
    const [response] = (await once(request, 'response')) as [IncomingMessage];
    agent.destroy();
    return response.statusCode;
  };
  const identity = await node.identity();
  expect(await ask('/containerLogs/default/x/c')).toBe(401);
  expect(await ask('/pods')).toBe(401);
  expect(await ask('/containerLogs/default/x/c', { cert: identity?.certificate, key: identity?.key })).toBe(403);
});
