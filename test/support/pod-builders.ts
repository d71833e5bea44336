/** Pods, devices and a node for the tests of `src/pods`. */
import type { DeviceConfig } from '../../devices/contract.ts';
import { parsePod } from '../../src/pods/parse-pod.ts';
import type { Pod } from '../../src/pods/pod.ts';

export type Json = Record<string, unknown>;

export interface PodWish {
  readonly name?: string;
  readonly namespace?: string;
  readonly uid?: string;
  readonly containers?: readonly Json[];
  readonly annotations?: Readonly<Record<string, string>>;
  readonly labels?: Readonly<Record<string, string>>;
  readonly metadata?: Json;
  readonly spec?: Json;
  readonly status?: Json;
}

/** A pod's object as the API server gives it, with one container `c` unless others are given. */
export function podObject(wish: PodWish = {}): Json {
  const { name = 'soil', namespace = 'default', uid = `uid-${name}`, containers = [container()] } = wish;
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name,
      namespace,
      uid,
      generation: 1,
      annotations: wish.annotations ?? {},
      labels: wish.labels ?? {},
      ...wish.metadata,
    },
    spec: { containers, ...wish.spec },
    status: wish.status ?? { phase: 'Pending' },
  };
}

/** @param devices resource without prefix, to count */
export function container(name = 'c', devices: Readonly<Record<string, number>> = {}, more: Json = {}): Json {
  const limits = Object.entries(devices).map(
    ([resource, count]) => [`loamlet.dev/${resource}`, String(count)] as const,
  );
  return { name, image: `registry/${name}:1`, resources: { limits: Object.fromEntries(limits) }, ...more };
}

export function pod(wish: PodWish = {}, source: Pod['source'] = 'api'): Pod {
  return parsePod(podObject(wish), source, 'greenhouse');
}

export function device(name: string, resource = 'soil-moisture'): DeviceConfig {
  return { name, resource, driver: 'simulated', options: { of: name } };
}
