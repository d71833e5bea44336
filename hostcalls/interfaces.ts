/** Every interface of `hostcalls/wit` by its import name, and what of it this version offers. */
import type { HostInterface } from './guest.ts';
import { lifecycleInterface } from './lifecycle.ts';
import { messagingInterface, type Publisher } from './messaging.ts';
import { sensorsInterface, type DeviceAccess } from './sensors.ts';

export interface HostServices {
  readonly devices: DeviceAccess;
  readonly publisher: Publisher;
}

/** The interfaces a module can be linked with; made once per process. */
export function hostInterfaces(services: HostServices): HostInterface[] {
  return [sensorsInterface(services.devices), messagingInterface(services.publisher), lifecycleInterface];
}

/** What a grant must hold for an interface to be linked. */
export type Need = 'device' | 'messaging' | 'nothing';

export interface OfferedInterface {
  readonly need: Need;
  readonly functions: readonly string[];
}

/** Kept equal to `hostInterfaces` by a test; here so that imports can be checked without any service. */
export const offered: Readonly<Record<string, OfferedInterface>> = {
  'loamlet:host/sensors@0.1.0': {
    need: 'device',
    functions: ['open', '[method]sensor.read', '[method]sensor.describe', '[resource-drop]sensor'],
  },
  'loamlet:host/messaging@0.1.0': {
    need: 'messaging',
    functions: [
      'publish',
      'publish-with',
      'publish-reading',
      'subscribe',
      '[method]subscription.receive',
      '[resource-drop]subscription',
    ],
  },
  'loamlet:host/lifecycle@0.1.0': { need: 'nothing', functions: ['alive', 'set-ready', 'stopping'] },
};

/** In the WIT, but not offered to modules by this version. */
export const notOffered: readonly string[] = [
  'loamlet:host/i2c-bus@0.1.0',
  'loamlet:host/spi@0.1.0',
  'loamlet:host/gpio@0.1.0',
  'wasi:i2c/i2c@0.2.0-draft',
];

/** WASI preview 1, under both names modules use; the executor provides all of it. */
export const wasiModules: readonly string[] = ['wasi_snapshot_preview1', 'wasi_unstable'];
