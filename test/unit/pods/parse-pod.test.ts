import { describe, expect, it } from 'vitest';
import { ManifestError, parsePod } from '../../../src/pods/parse-pod.ts';
import { container, pod, podObject, type Json } from '../../support/pod-builders.ts';

/** As `kubectl get pod -o json` shows one of a Deployment with runtimeClassName: every default filled in. */
const defaulted = {
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: {
    annotations: { 'kubernetes.io/psp': 'none' },
    creationTimestamp: '2026-11-22T19:18:28Z',
    generateName: 'soil-sensor-7d9c6b5f4-',
    generation: 1,
    labels: { app: 'soil', 'pod-template-hash': '7d9c6b5f4' },
    managedFields: [{ manager: 'kube-controller-manager', operation: 'Update', fieldsV1: { 'f:metadata': {} } }],
    name: 'soil-sensor-7d9c6b5f4-x2x4q',
    namespace: 'garden',
    ownerReferences: [
      {
        apiVersion: 'apps/v1',
        blockOwnerDeletion: true,
        controller: true,
        kind: 'ReplicaSet',
        name: 'soil-sensor-7d9c6b5f4',
        uid: '4f0f2a7e-2f1c-4a54-8d0e-0b6b6f8f8a01',
      },
    ],
    resourceVersion: '1244',
    uid: 'b7a3c0de-0001-4000-8000-000000000001',
  },
  spec: {
    containers: [
      {
        args: ['--every', '5s'],
        env: [
          { name: 'PLACE', value: 'bed 3' },
          { name: 'POD', valueFrom: { fieldRef: { apiVersion: 'v1', fieldPath: 'metadata.name' } } },
          { name: 'NODE', valueFrom: { fieldRef: { apiVersion: 'v1', fieldPath: 'spec.nodeName' } } },
        ],
        image: 'registry.example/soil-sensor:1.2',
        imagePullPolicy: 'IfNotPresent',
        name: 'sensor',
        ports: [{ containerPort: 8080, protocol: 'TCP' }],
        resizePolicy: [{ resourceName: 'memory', restartPolicy: 'NotRequired' }],
        resources: {
          limits: { 'loamlet.dev/soil-moisture': '1', memory: '16Mi', cpu: '100m' },
          requests: { 'loamlet.dev/soil-moisture': '1', memory: '16Mi', cpu: '100m' },
        },
        securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } },
        terminationMessagePath: '/dev/termination-log',
        terminationMessagePolicy: 'File',
        volumeMounts: [
          {
            mountPath: '/var/run/secrets/kubernetes.io/serviceaccount',
            name: 'kube-api-access-8kx2z',
            readOnly: true,
          },
        ],
      },
    ],
    dnsPolicy: 'ClusterFirst',
    enableServiceLinks: true,
    nodeName: 'greenhouse',
    nodeSelector: { 'kubernetes.io/arch': 'wasm32-wasi' },
    overhead: { memory: '64Ki' },
    preemptionPolicy: 'PreemptLowerPriority',
    priority: 0,
    restartPolicy: 'Always',
    runtimeClassName: 'loamlet',
    schedulerName: 'default-scheduler',
    securityContext: {},
    serviceAccount: 'default',
    serviceAccountName: 'default',
    terminationGracePeriodSeconds: 30,
    tolerations: [
      { effect: 'NoExecute', key: 'node.kubernetes.io/not-ready', operator: 'Exists', tolerationSeconds: 300 },
      { effect: 'NoExecute', key: 'node.kubernetes.io/unreachable', operator: 'Exists', tolerationSeconds: 300 },
      { key: 'kubernetes.io/arch', operator: 'Equal', value: 'wasm32-wasi' },
    ],
    volumes: [
      {
        name: 'kube-api-access-8kx2z',
        projected: {
          defaultMode: 420,
          sources: [
            { serviceAccountToken: { expirationSeconds: 3607, path: 'token' } },
            { configMap: { items: [{ key: 'ca.crt', path: 'ca.crt' }], name: 'kube-root-ca.crt' } },
            {
              downwardAPI: {
                items: [{ fieldRef: { apiVersion: 'v1', fieldPath: 'metadata.namespace' }, path: 'namespace' }],
              },
            },
          ],
        },
      },
    ],
  },
  status: { phase: 'Pending', qosClass: 'Burstable', conditions: [{ type: 'PodScheduled', status: 'True' }] },
};

it('finds nothing to object to in an ordinary pod with the API server’s defaults', () => {
  const parsed = parsePod(defaulted, 'api', 'greenhouse');
  expect(parsed.problems).toEqual([]);
  expect(parsed).toMatchObject({
    source: 'api',
    uid: 'b7a3c0de-0001-4000-8000-000000000001',
    namespace: 'garden',
    name: 'soil-sensor-7d9c6b5f4-x2x4q',
    generation: 1,
    topicName: 'soil-sensor',
    restartPolicy: 'Always',
    terminationGraceSeconds: 30,
    activeDeadlineSeconds: undefined,
    deletion: undefined,
    knownPhase: 'Pending',
    containers: [
      {
        name: 'sensor',
        image: 'registry.example/soil-sensor:1.2',
        imagePullPolicy: 'IfNotPresent',
        args: ['sensor', '--every', '5s'],
        env: [
          { name: 'PLACE', value: 'bed 3' },
          { name: 'POD', value: 'soil-sensor-7d9c6b5f4-x2x4q' },
          { name: 'NODE', field: 'nodeName' },
        ],
        memoryLimitBytes: 16 * 2 ** 20,
      },
    ],
  });
  expect([...(parsed.containers[0]?.devices ?? [])]).toEqual([['soil-moisture', 1]]);
});

describe('what this node can’t do is named', () => {
  const inSpec = (spec: Json): readonly string[] => pod({ spec }).problems;
  const inContainer = (more: Json): readonly string[] => pod({ containers: [container('c', {}, more)] }).problems;

  it.each<[string, unknown]>([
    ['initContainers', [{ name: 'init', image: 'x' }]],
    ['ephemeralContainers', [{ name: 'debug' }]],
    ['hostNetwork', true],
    ['hostPID', true],
    ['hostIPC', true],
    ['hostUsers', true],
    ['resourceClaims', [{ name: 'claim' }]],
    ['resources', { limits: { cpu: '1' } }],
    ['somethingNew', 'x'],
  ])('spec.%s', (field, value) => expect(inSpec({ [field]: value })).toEqual([`spec.${field} is not supported`]));

  it.each<[string, unknown]>([
    ['hostNetwork', false],
    ['initContainers', []],
    ['ephemeralContainers', null],
    ['securityContext', { runAsNonRoot: true }],
  ])('but not spec.%s: %j', (field, value) => expect(inSpec({ [field]: value })).toEqual([]));

  it('spec.os', () =>
    expect(inSpec({ os: { name: 'linux' } })).toEqual(['spec.os.name asks for another system than wasm']));

  it('spec.restartPolicy', () =>
    expect(inSpec({ restartPolicy: 'Sometimes' })).toEqual(['spec.restartPolicy is not Always, OnFailure or Never']));

  it.each<[string, Json]>([
    ['livenessProbe', { httpGet: { port: 1 } }],
    ['readinessProbe', { exec: { command: ['x'] } }],
    ['startupProbe', { tcpSocket: { port: 1 } }],
    ['lifecycle', { preStop: {} }],
    ['envFrom', [{ configMapRef: { name: 'x' } }] as unknown as Json],
    ['volumeDevices', [{ name: 'x' }] as unknown as Json],
  ])('container field %s', (field, value) =>
    expect(inContainer({ [field]: value })).toEqual([`container c: ${field} is not supported`]),
  );

  it.each<[string, Json, string]>([
    ['workingDir', { workingDir: '/x' }, 'container c: workingDir is not supported'],
    [
      'privileged',
      { securityContext: { privileged: true } },
      'container c: privileged means nothing here, grant a device instead',
    ],
    ['a mount', { volumeMounts: [{ name: 'data' }] }, 'container c: volumeMount data is not supported'],
    [
      'a secret in env',
      { env: [{ name: 'A', valueFrom: { secretKeyRef: { name: 's', key: 'k' } } }] },
      'container c: env A: secretKeyRef is not supported',
    ],
    [
      'an unknown field in env',
      { env: [{ name: 'A', valueFrom: { fieldRef: { fieldPath: 'status.podIP' } } }] },
      'container c: env A: status.podIP is not supported',
    ],
    ['a broken env name', { env: [{ name: 'A=B', value: '' }] }, 'container c: an env entry has no valid name'],
    ['NUL in env', { env: [{ name: 'A', value: 'x\0B=1' }] }, 'container c: env A holds a NUL byte'],
    ['NUL in args', { args: ['a\0b'] }, 'container c: args hold a NUL byte'],
    ['no image', { image: '' }, 'container c has no image'],
    [
      'another’s resource',
      { resources: { limits: { 'nvidia.com/gpu': '1' } } },
      'container c: resources.limits.nvidia.com/gpu is not a resource of this node',
    ],
    [
      'half a device',
      { resources: { limits: { 'loamlet.dev/pump': '500m' } } },
      'container c: resources.limits.loamlet.dev/pump must be a whole number up to 64',
    ],
    [
      'a thousand devices',
      { resources: { limits: { 'loamlet.dev/pump': '1k' } } },
      'container c: resources.limits.loamlet.dev/pump must be a whole number up to 64',
    ],
    [
      'no quantity',
      { resources: { limits: { memory: 'lots' } } },
      'container c: resources.limits.memory is not a quantity',
    ],
    [
      'more memory than a number can say',
      { resources: { limits: { memory: '9'.repeat(400) } } },
      'container c: resources.limits.memory is not a quantity',
    ],
  ])('%s', (_, more, problem) => expect(inContainer(more)).toEqual([problem]));

  it.each<[string, Json]>([
    ['emptyDir', { emptyDir: {} }],
    ['hostPath', { hostPath: { path: '/dev' } }],
    ['a secret', { secret: { secretName: 's' } }],
    ['a projected one of another name', { projected: { sources: [] } }],
  ])('volume %s', (_, volume) =>
    expect(inSpec({ volumes: [{ name: 'data', ...volume }] })).toEqual([
      'volume data is not supported: this version gives modules no files',
    ]),
  );

  it('too many containers, of a pod that can still be deleted', () => {
    const containers = Array.from({ length: 33 }, (_, index) => container(`c${index}`));
    const parsed = pod({ containers, metadata: { deletionTimestamp: '2026-11-22T19:00:00Z' } });
    expect(parsed.problems).toEqual(['the pod has more than 32 containers']);
    expect(parsed.deletion).toBeDefined();
  });
});

describe('what no pod can be made of is refused', () => {
  it.each<[string, unknown, string]>([
    ['a text', 'pod', 'the manifest is not an object'],
    ['a list', [], 'the manifest is not an object'],
    ['a Deployment', { kind: 'Deployment' }, 'the manifest is a Deployment and not a Pod'],
    ['no name', { kind: 'Pod' }, 'metadata.name is missing or not a lower case DNS name'],
    ['a path as its name', podObject({ name: '../x' }), 'metadata.name is missing or not a lower case DNS name'],
    ['a path as its namespace', podObject({ namespace: '..' }), 'metadata.namespace of pod soil is not a DNS label'],
    ['a path as its uid', podObject({ uid: '../../etc' }), 'pod soil has no metadata.uid'],
    ['no spec', { metadata: { name: 'soil' } }, 'pod soil has no spec'],
    ['no containers', podObject({ containers: [] }), 'pod soil has no containers'],
    [
      'two of one name',
      podObject({ containers: [container(), container()] }),
      'pod soil has two containers of one name',
    ],
    [
      'a path as a container’s name',
      podObject({ containers: [container('a/b')] }),
      'spec.containers[0].name of pod soil is missing or not a DNS label',
    ],
  ])('%s', (_, manifest, message) => {
    expect(() => parsePod(manifest, 'api', 'greenhouse')).toThrow(ManifestError);
    expect(() => parsePod(manifest, 'api', 'greenhouse')).toThrow(message);
  });
});

describe('the name of a pod’s own topics', () => {
  const owned = (...owners: Json[]): Json => ({ ownerReferences: owners });
  it.each<[string, Parameters<typeof pod>[0], string]>([
    [
      'is its label',
      { labels: { 'app.kubernetes.io/name': 'Soil_1.x' }, metadata: owned({ name: 'owner' }) },
      'Soil_1.x',
    ],
    ['is its controller', { metadata: owned({ name: 'first' }, { name: 'soil-set', controller: true }) }, 'soil-set'],
    ['is its owner', { metadata: owned({ name: 'first', kind: 'Job' }) }, 'first'],
    ['is its own without either', {}, 'soil'],
    ['is no label that is empty', { labels: { 'app.kubernetes.io/name': '' } }, 'soil'],
    ['is no wildcard', { labels: { 'app.kubernetes.io/name': '#' }, metadata: owned({ name: '+' }) }, 'soil'],
    ['is one level', { labels: { 'app.kubernetes.io/name': 'a/b' }, metadata: owned({ name: '../x' }) }, 'soil'],
    [
      'outlives a rollout',
      {
        labels: { 'pod-template-hash': '7d9c6b5f4' },
        metadata: owned({ kind: 'ReplicaSet', name: 'soil-7d9c6b5f4', controller: true }),
      },
      'soil',
    ],
  ])('%s', (_, wish, name) => {
    const { labels, metadata, ...rest } = wish ?? {};
    expect(pod({ ...rest, metadata: { labels: labels ?? {}, ...metadata } }).topicName).toBe(name);
  });
});

describe('times', () => {
  it('of a deletion', () => {
    const metadata = { deletionTimestamp: '2026-11-22T19:00:30Z', deletionGracePeriodSeconds: 5 };
    expect(pod({ metadata }).deletion).toEqual({ deadlineMs: Date.parse('2026-11-22T19:00:30Z'), graceSeconds: 5 });
  });
  it('are those a timer can hold', () => {
    const parsed = pod({
      spec: { terminationGracePeriodSeconds: 1e15 },
      metadata: { deletionTimestamp: '2026-11-22T19:00:30Z', deletionGracePeriodSeconds: 1e15 },
    });
    expect(parsed.terminationGraceSeconds * 1000).toBeLessThan(2 ** 31);
    expect((parsed.deletion?.graceSeconds ?? Infinity) * 1000).toBeLessThan(2 ** 31);
  });
  it('that are none are the default', () => {
    const spec = { terminationGracePeriodSeconds: -1, activeDeadlineSeconds: 'soon' };
    expect(pod({ spec })).toMatchObject({ terminationGraceSeconds: 30, activeDeadlineSeconds: undefined });
  });
});

describe('details of a container', () => {
  const parsed = (more: Json) => pod({ containers: [container('c', {}, more)] }).containers[0];
  it.each([
    ['registry/c', 'Always'],
    ['registry/c:latest', 'Always'],
    ['registry:5000/c', 'Always'],
    ['registry/c:1', 'IfNotPresent'],
    ['registry/c@sha256:00', 'IfNotPresent'],
    ['registry/c:latest@sha256:00', 'IfNotPresent'],
  ])('%s is pulled %s by default', (image, policy) => expect(parsed({ image })?.imagePullPolicy).toBe(policy));
  it('a command is what comes before the arguments', () =>
    expect(parsed({ command: ['prog', '-v'], args: ['x'] })?.args).toEqual(['prog', '-v', 'x']));
  it('a limit of nothing is none', () => {
    const limits = { memory: '0', 'loamlet.dev/pump': '0' };
    expect(parsed({ resources: { limits } })?.memoryLimitBytes).toBeUndefined();
    expect(parsed({ resources: { limits } })?.devices.size).toBe(0);
  });
});

describe('a static pod', () => {
  const manifest = podObject({ uid: 'ignored' });
  const uid = (raw: unknown, node = 'greenhouse'): string => parsePod(raw, 'static', node).uid;
  it('is another one when its manifest or its node is', () => {
    expect(uid(manifest)).toBe(uid(structuredClone(manifest)));
    expect(uid(manifest)).not.toBe(uid({ ...manifest, spec: { ...(manifest['spec'] as Json), priority: 1 } }));
    expect(uid(manifest)).not.toBe(uid(manifest, 'shed'));
  });
  it('keeps its identity over the disk', () => expect(uid(JSON.parse(JSON.stringify(manifest)))).toBe(uid(manifest)));
  it('is in namespace default without one', () => {
    const raw = { metadata: { name: 'soil' }, spec: { containers: [container()] } };
    expect(parsePod(raw, 'static', 'greenhouse')).toMatchObject({ namespace: 'default', generation: undefined });
  });
});

it('of whatever JSON makes a pod or a ManifestError', () => {
  // mulberry32: the same manifests in each run.
  let seed = 0x10a31e7;
  const random = (): number => {
    seed = (seed + 0x6d2b79f5) | 0;
    let mixed = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  const oneOf = <T>(values: readonly T[]): T => values[Math.floor(random() * values.length)] as T;
  const odd = [
    '',
    'x',
    '\0',
    '__proto__',
    '1e999',
    '../..',
    'loamlet.dev/x',
    '💧'.repeat(9),
    0,
    -1,
    1e308,
    1.5,
    true,
    null,
  ];
  const anything = (depth: number): unknown => {
    const kind = random();
    if (depth === 0 || kind < 0.5) return oneOf(odd);
    if (kind < 0.7) return Array.from({ length: Math.floor(random() * 3) }, () => anything(depth - 1));
    const keys = ['name', 'spec', 'image', 'limits', 'valueFrom', 'fieldRef', '__proto__', 'constructor', 'x'];
    return Object.fromEntries(Array.from({ length: 3 }, () => [oneOf(keys), anything(depth - 1)]));
  };
  const disturb = (value: unknown): unknown => {
    if (random() < 0.04) return anything(3);
    if (Array.isArray(value)) return value.map(disturb);
    if (typeof value !== 'object' || value === null) return value;
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, disturb(inner)]));
  };
  let parsed = 0;
  let refused = 0;
  for (let count = 0; count < 20_000; count++) {
    const manifest = count % 10 === 0 ? anything(5) : disturb(defaulted);
    try {
      const result = parsePod(manifest, count % 2 === 0 ? 'api' : 'static', 'greenhouse');
      expect(result.topicName).toMatch(/^[A-Za-z0-9][-_.A-Za-z0-9]*$/);
      for (const { memoryLimitBytes = 1, args, devices } of result.containers) {
        expect(Number.isSafeInteger(memoryLimitBytes) || memoryLimitBytes > 2 ** 53).toBe(true);
        expect(args.length).toBeGreaterThan(0);
        for (const number of devices.values()) expect(number).toBeGreaterThan(0);
      }
      parsed++;
    } catch (error) {
      if (!(error instanceof ManifestError)) throw error;
      refused++;
    }
  }
  expect(parsed).toBeGreaterThan(1_000);
  expect(refused).toBeGreaterThan(1_000);
});
