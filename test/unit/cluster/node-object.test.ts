import { expect, test } from 'vitest';
import type { NodeFacts, NodePressure } from '../../../src/cluster/node-facts.ts';
import {
  checkDescription,
  nodeConditions,
  nodeStatus,
  statusDigest,
  type NodeDescription,
} from '../../../src/cluster/node-object.ts';

const gibibyte = 1024 ** 3;
const facts: NodeFacts = {
  cpus: 4,
  memoryBytes: gibibyte,
  storageBytes: 10 * gibibyte,
  machineId: 'm',
  systemUuid: 's',
  bootId: 'b',
  kernelVersion: '6.12',
  osImage: 'Debian',
  architecture: 'arm64',
  address: '192.168.1.7',
};
const healthy: NodePressure = {
  memoryAvailableBytes: gibibyte,
  storageAvailableBytes: 5 * gibibyte,
  storageBytes: 10 * gibibyte,
  tasks: 100,
  maxTasks: 32768,
};
const description: NodeDescription = {
  nodeName: 'loam-1',
  labels: {},
  taints: [],
  resources: new Map([['pump', 1]]),
  capacity: {},
  version: '0.1.0',
};
const ready = { ready: true, reason: 'LoamletReady', message: 'runs' };

test('a small Pi keeps something for itself', () => {
  const { capacity, allocatable } = nodeStatus(description, facts, 10250, []);
  expect(capacity).toEqual({
    cpu: '4',
    memory: '1048576Ki',
    'ephemeral-storage': '10485760Ki',
    pods: '1000',
    'loamlet.dev/pump': '1',
  });
  expect(allocatable).toEqual({ ...capacity, memory: '786432Ki', 'ephemeral-storage': '9437184Ki' });
  const tiny = nodeStatus({ ...description, capacity: { memoryBytes: 300 * 1024 ** 2, cpus: 0.5 } }, facts, 10250, []);
  expect(tiny.capacity).toMatchObject({ cpu: '500m', memory: '307200Ki' });
  expect(tiny.allocatable.memory).toBe('153600Ki');
});

test('conditions tell of pressure, and keep the time of their last change', () => {
  const first = nodeConditions(healthy, ready, [], new Date('2026-11-22T10:00:00.123Z'));
  expect(first.map(({ type, status }) => `${type}=${status}`)).toEqual([
    'MemoryPressure=False',
    'DiskPressure=False',
    'PIDPressure=False',
    'Ready=True',
  ]);
  const pressed = { ...healthy, memoryAvailableBytes: 50 * 1024 ** 2 };
  const second = nodeConditions(
    pressed,
    { ready: false, reason: 'RunnerDown', message: 'the runner does not start' },
    first,
    new Date('2026-11-22T10:05:00Z'),
  );
  expect(second.map(({ type, status, lastTransitionTime }) => [type, status, lastTransitionTime])).toEqual([
    ['MemoryPressure', 'True', '2026-11-22T10:05:00Z'],
    ['DiskPressure', 'False', '2026-11-22T10:00:00Z'],
    ['PIDPressure', 'False', '2026-11-22T10:00:00Z'],
    ['Ready', 'False', '2026-11-22T10:05:00Z'],
  ]);
  expect(second.every(({ lastHeartbeatTime }) => lastHeartbeatTime === '2026-11-22T10:05:00Z')).toBe(true);
});

test('only what matters is told at once: not the time', () => {
  const at = (time: string, pressure = healthy) =>
    statusDigest(nodeStatus(description, facts, 10250, nodeConditions(pressure, ready, [], new Date(time))));
  expect(at('2026-11-22T10:00:00Z')).toBe(at('2026-11-22T10:04:00Z'));
  expect(at('2026-11-22T10:00:00Z', { ...healthy, storageAvailableBytes: 0 })).not.toBe(at('2026-11-22T10:00:00Z'));
});

test.each([
  ['a name in capitals', { nodeName: 'Loam' }],
  ['a name with an underscore', { nodeName: 'loam_1' }],
  ['a resource with a space', { resources: new Map([['soil moisture', 1]]) }],
  ['half a device', { resources: new Map([['pump', 0.5]]) }],
  ['fewer than no devices', { resources: new Map([['pump', -1]]) }],
  ['a label value with a space', { labels: { 'loamlet.dev/bed': 'bed 3' } }],
  ['a label with two slashes', { labels: { 'a/b/c': 'x' } }],
])('refuses %s', (_, wrong) => {
  expect(() => checkDescription({ ...description, ...wrong })).toThrow(
    expect.objectContaining({ code: 'NodeInvalid' }) as Error,
  );
});

test('takes what is right', () => {
  expect(() =>
    checkDescription({
      ...description,
      nodeName: 'pi.garden.example',
      labels: { runtime: 'loamlet', 'loamlet.dev/bed': '' },
    }),
  ).not.toThrow();
});
