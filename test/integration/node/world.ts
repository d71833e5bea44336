/** What the tests of the whole node share: guests built from their sources, pods, and a broker's address. */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { promisify } from 'node:util';
import { beforeAll } from 'vitest';
import { guest } from '../../support/guests.ts';

const root = new URL('../../../', import.meta.url).pathname;
const run = promisify(execFile);

export type GuestName = 'plain' | 'counter' | 'stubborn' | 'soil-sensor';

/** Builds guests before the tests of a file; gives the path of one. */
export function useGuests(...names: readonly GuestName[]): (name: GuestName) => string {
  const paths = new Map<GuestName, string>();
  beforeAll(async () => {
    for (const name of names)
      paths.set(name, name === 'soil-sensor' ? await soilSensorModule() : await guest('c', name));
  });
  return (name) => paths.get(name) ?? '';
}

/** The one of the demo. */
async function soilSensorModule(): Promise<string> {
  const path = `${root}.tools/modules/soil-sensor.wasm`;
  if (!existsSync(path)) await run(`${root}examples/build`, [`${root}.tools/modules`, 'soil-sensor']);
  return path;
}

export interface PodWish {
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string | number>>;
  /** Resource without prefix, to count. */
  readonly devices?: Readonly<Record<string, number>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly restartPolicy?: 'Always' | 'OnFailure' | 'Never';
  readonly graceSeconds?: number;
  readonly container?: Readonly<Record<string, unknown>>;
}

export interface PodManifest {
  readonly apiVersion: 'v1';
  readonly kind: 'Pod';
  readonly metadata: { readonly name: string };
  readonly spec: object;
}

/** A static pod with one container `c`. @param module a path on this machine, or a reference */
export function podOf(name: string, module: string, wish: PodWish = {}): PodManifest {
  const { args, env = {}, devices = {}, annotations = {}, restartPolicy = 'Always', graceSeconds = 30 } = wish;
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, ...(Object.keys(annotations).length > 0 && { annotations }) },
    spec: {
      restartPolicy,
      terminationGracePeriodSeconds: graceSeconds,
      containers: [
        {
          name: 'c',
          image: module.startsWith('/') ? `file://${module}` : module,
          ...(args !== undefined && { args }),
          env: Object.entries(env).map(([key, value]) => ({ name: key, value: String(value) })),
          resources: {
            limits: Object.fromEntries(Object.entries(devices).map(([key, count]) => [`loamlet.dev/${key}`, count])),
          },
          ...wish.container,
        },
      ],
    },
  };
}

/** A node config's soil sensor `name`, simulated. */
export function soilSensor(name = 'bed-3', more: Readonly<Record<string, unknown>> = {}): object {
  return { name, resource: 'soil-moisture', driver: 'simulated', profile: 'constant', value: 41.5, ...more };
}

/** The numbers from 1 to `last`, as a counter publishes them. */
export function numbersTo(last: number): string[] {
  return Array.from({ length: last }, (_, index) => String(index + 1));
}
