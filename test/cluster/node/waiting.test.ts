import { randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { Subscriber } from '../../support/subscriber.ts';
import { until } from '../../support/until.ts';
import { conditions, container, useWorld, type ContainerStatus } from './world.ts';

const world = useWorld(['plain', 'soil-sensor', 'topics', 'counter']);

/** That the pod waits for the reason, and that one Event says why. */
async function waits(name: string, reason: string, namespace = 'default'): Promise<ContainerStatus> {
  const status = await world().waiting(name, reason, namespace);
  const pod = await world().get(name, namespace);
  expect(pod.status.phase).toBe('Pending');
  expect(conditions(pod)['Ready']).toBe('False ContainersNotReady');
  expect(status).toMatchObject({ ready: false, restartCount: 0, lastState: {} });
  const events = await world().eventsUntil('an Event for the reason', pod, (found) => found.length > 0);
  expect(events.map(({ type, reason: why, count }) => ({ type, reason: why, count }))).toEqual([
    { type: 'Warning', reason, count: 1 },
  ]);
  expect(events[0]?.message).toBe(status.state.waiting?.message);
  // One line that a person understands.
  expect(events[0]?.message).toMatch(/^[^\n]{20,400}$/);
  return status;
}

const messageOf = ({ state }: ContainerStatus): string => state.waiting?.message ?? '';

/** What Docker pushes: a gzipped tar and its config. */
async function pushContainerImage(repository: string): Promise<void> {
  const { registry } = world();
  const blob = async (mediaType: string, content: Uint8Array): Promise<object> => ({
    mediaType,
    size: content.byteLength,
    digest: await registry.putBlob(repository, content),
  });
  await registry.putManifest(repository, '1', 'application/vnd.docker.distribution.manifest.v2+json', {
    config: await blob('application/vnd.docker.container.image.v1+json', Buffer.from('{"os":"linux"}')),
    layers: [
      await blob(
        'application/vnd.docker.image.rootfs.diff.tar.gzip',
        Buffer.concat([Buffer.from([31, 139, 8]), randomBytes(200)]),
      ),
    ],
  });
}

test('an ordinary container image waits with ErrImageNotWasm, also as a DaemonSet that tolerates everything', async () => {
  const { cluster, registry } = world();
  await using _node = await world().node();
  await pushContainerImage('nginx');
  await world().pod('web', 'nginx:1');
  const labels = { 'app.kubernetes.io/name': 'everywhere' };
  await cluster.apply({
    apiVersion: 'apps/v1',
    kind: 'DaemonSet',
    metadata: { name: 'everywhere' },
    spec: {
      selector: { matchLabels: labels },
      template: {
        metadata: { labels },
        spec: {
          tolerations: [{ operator: 'Exists' }],
          containers: [{ name: 'c', image: world().reference('nginx:1') }],
        },
      },
    },
  });
  await until('the DaemonSet has its pod', async () => (await world().pods('everywhere')).length > 0);
  const [daemon] = await world().pods('everywhere');
  const name = daemon?.metadata.name ?? '';
  expect(messageOf(await waits('web', 'ErrImageNotWasm'))).toContain('nginx');
  await waits(name, 'ErrImageNotWasm');
  const asked = (): number =>
    registry.log.split('"GET /v2/nginx/manifests').length +
    registry.log.split('"http.request.uri":"/v2/nginx/manifests').length;
  const before = asked();
  // Looked at again, without another word.
  await until('the image is asked for again', () => asked() > before);
  await waits('web', 'ErrImageNotWasm');
  await waits(name, 'ErrImageNotWasm');
  expect((await world().pods('everywhere')).map(({ metadata }) => metadata.uid)).toEqual([daemon?.metadata.uid]);
});

test('what is not granted waits with GrantDenied', async () => {
  const { cluster } = world();
  await using _node = await world().node();
  await cluster.apply({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'strangers' } });
  const devices = { 'soil-moisture': 1 };
  await world().pod('stranger', 'soil-sensor:1', { devices, namespace: 'strangers' });
  await world().pod('no-request', 'soil-sensor:1');
  await world().pod('too-far', 'counter:1', { annotations: { 'mqtt.loamlet.dev/publish': 'house/#' } });
  const stranger = messageOf(await waits('stranger', 'GrantDenied', 'strangers'));
  expect(stranger).toContain('soil-moisture');
  expect(stranger).toContain('strangers');
  expect(messageOf(await waits('no-request', 'GrantDenied'))).toContain('loamlet:host/sensors');
  expect(messageOf(await waits('too-far', 'GrantDenied'))).toContain('house/#');
});

test('a manifest that asks for what there is not waits with CreateContainerConfigError', async () => {
  await using _node = await world().node();
  const secret = { name: 'TOKEN', valueFrom: { secretKeyRef: { name: 'tokens', key: 'one' } } };
  await world().pod('from-secret', 'plain:1', { container: { env: [secret] } });
  const volumes = [{ name: 'data', hostPath: { path: '/srv' } }];
  await world().pod('with-files', 'plain:1', {
    spec: { volumes },
    container: { volumeMounts: [{ name: 'data', mountPath: '/data' }] },
  });
  await world().pod('with-probe', 'plain:1', { container: { livenessProbe: { httpGet: { port: 80 } } } });
  expect(messageOf(await waits('from-secret', 'CreateContainerConfigError'))).toContain('env TOKEN: secretKeyRef');
  expect(messageOf(await waits('with-files', 'CreateContainerConfigError'))).toContain('volume data is not supported');
  expect(messageOf(await waits('with-probe', 'CreateContainerConfigError'))).toContain('livenessProbe');
});

test('an image that is missing or was tampered with waits, and runs by itself once it is right', async () => {
  const { registry } = world();
  await using _node = await world().node();
  const missing = await world().pod('missing', 'later:1', { args: ['sleep'] });
  // The module's bytes change on the registry's disk.
  await world().push('plain', 'bad:1');
  const manifest = (await (
    await fetch(`${registry.url}/v2/bad/manifests/1`, {
      headers: { accept: 'application/vnd.oci.image.manifest.v1+json' },
    })
  ).json()) as { layers: { digest: string }[] };
  const file = registry.blobPath(manifest.layers[0]?.digest ?? '');
  const good = await readFile(file);
  const bad = Buffer.from(good);
  bad[bad.length - 1] = (bad.at(-1) ?? 0) ^ 1;
  await writeFile(file, bad);
  try {
    await world().pod('tampered', 'bad:1', { args: ['sleep'] });
    expect(messageOf(await waits('missing', 'ErrImagePull'))).toContain('later:1');
    expect(messageOf(await waits('tampered', 'ErrImageDigest'))).toContain('bad');
  } finally {
    await writeFile(file, good);
  }
  await world().push('plain', 'later:1');
  const pod = await world().running('missing');
  expect(pod.metadata.uid).toBe(missing);
  expect(container(pod).restartCount).toBe(0);
  await world().running('tampered');
});

test('the scheduler keeps a second pod from a device, and sends it when the first has gone', async () => {
  await using _node = await world().node();
  const options = { devices: { 'soil-moisture': 1 } };
  await world().pod('first', 'soil-sensor:1', options);
  await world().running('first');
  await world().pod('second', 'soil-sensor:1', options);
  const pod = await world().until('is not scheduled', 'second', (found) => 'PodScheduled' in conditions(found));
  expect(pod.status.conditions?.[0]?.message).toContain('Insufficient loamlet.dev/soil-moisture');
  expect(pod.status.containerStatuses).toBeUndefined();
  await world().cluster.kubectl('delete', 'pod', 'first');
  await world().running('second');
});

test('a pod that was bound by hand to a node whose device is taken waits for it', async () => {
  await using node = await world().node();
  const options = { devices: { 'soil-moisture': 1 } };
  await world().pod('first', 'soil-sensor:1', options);
  await world().running('first');
  await world().pod('second', 'soil-sensor:1', { ...options, spec: { nodeName: node.name } });
  expect(messageOf(await waits('second', 'GrantDenied'))).toContain('held by pod default/first');
  await world().cluster.kubectl('delete', 'pod', 'first');
  await world().running('second');
});

test('a module publishes to the topics it was granted and to no others', async () => {
  const { broker } = world();
  await using node = await world().node({
    policy: [{ namespaces: ['default'], publish: [{ filter: 'garden/#' }] }],
  });
  await using subscriber = await Subscriber.open(broker.url, '#');
  const topics = [
    'garden/bed-3/moisture',
    'garden/bed-4/moisture',
    'soil',
    `loamlet/${node.name}/status`,
    'garden/#',
    '',
  ];
  await world().pod('asks', 'topics:1', {
    args: topics,
    restartPolicy: 'Never',
    annotations: { 'mqtt.loamlet.dev/publish': 'garden/bed-3/#' },
  });
  // Without asking every topic is below the pod's own prefix.
  const escapes = ['../other/soil', '/soil', `loamlet/${node.name}/status`, '#', 'plain'];
  await world().pod('prefixed', 'topics:1', { args: escapes, restartPolicy: 'Never' });
  await node.approve();
  const printed = async (name: string): Promise<string[]> => {
    await world().until('has ended', name, ({ status }) => status.phase === 'Succeeded');
    return (await world().cluster.kubectl('logs', name)).trimEnd().split('\n');
  };
  const asks = await printed('asks');
  expect(asks[0]).toBe('garden/bed-3/moisture: published');
  for (const line of asks.slice(1, 4)) expect(line).toContain(': permission-denied');
  for (const line of asks.slice(4)) expect(line).toContain(': other: ');
  expect(asks).toHaveLength(topics.length);
  await printed('prefixed');
  await subscriber.until((received) => received.some(({ topic }) => topic.endsWith('/plain')));
  const prefix = `loamlet/${node.name}/default/prefixed/`;
  const strange = subscriber.received.filter(
    ({ topic, payload, retain }) =>
      !retain && payload !== 'online' && topic !== 'garden/bed-3/moisture' && !topic.startsWith(prefix),
  );
  expect(strange).toEqual([]);
});
