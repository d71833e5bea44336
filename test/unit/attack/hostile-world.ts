/** Runs hostile modules on the product's executor and host calls, in this process. */
import type { DeviceConfig, Sensor } from '../../../devices/contract.ts';
import type { Grant } from '../../../hostcalls/grant.ts';
import { hostInterfaces } from '../../../hostcalls/interfaces.ts';
import type { Publication, PublishOutcome } from '../../../hostcalls/messaging.ts';
import { transform } from '../../../src/precompile/transform.ts';
import { Executor } from '../../../src/runner/executor.ts';
import type { Ending, Instance } from '../../../src/runner/instance.ts';
import { StringBlock } from '../../../src/runner/string-block.ts';

const device: DeviceConfig = { name: 'bed-1', resource: 'soil-moisture', driver: 'simulated', options: {} };

/** A sensor, `soil`, and topics below `own/`. */
export const grant: Grant = {
  devices: [{ logicalName: 'soil', device, freshnessMs: 0 }],
  messaging: { publish: [{ filter: 'own/#', qos: 1, retain: false }], prefix: 'own/' },
};

export interface Run {
  readonly instance: Instance;
  readonly ended: Promise<Ending>;
  readonly output: () => string;
}

export interface StartOptions {
  readonly grant?: Grant;
  readonly memoryLimitBytes?: number;
  readonly onReady?: (ready: boolean) => void;
}

export class HostileWorld {
  readonly published: { id: string; topic: string; text: string }[] = [];
  /** What a read of the one sensor does. */
  read: (signal: AbortSignal) => Promise<number> = () => Promise.resolve(42);
  publish: (publication: Publication) => Promise<PublishOutcome> = () => Promise.resolve(undefined);
  readonly executor: Executor;
  #runs = 0;

  constructor() {
    const sensor: Sensor = {
      describe: () => ({ quantity: 'soil-moisture', unit: '%', model: 'probe', intervalMs: 10 }),
      read: async (signal) => ({ value: await this.read(signal), unit: '%', takenAtMs: 1, quality: 'good' }),
    };
    this.executor = new Executor(
      hostInterfaces({
        devices: { sensor: () => Promise.resolve(sensor) },
        publisher: {
          publish: (guest, publication) => {
            const { id } = guest as unknown as Instance;
            this.published.push({ id, topic: publication.topic, text: Buffer.from(publication.payload).toString() });
            return this.publish(publication);
          },
        },
      }),
    );
  }

  start(wasm: Uint8Array, options: StartOptions = {}): Run {
    const { module, description } = transform(wasm);
    const compiled = new WebAssembly.Module(new Uint8Array(module));
    return this.startCompiled({ module: compiled, description }, options);
  }

  startCompiled(loaded: Parameters<Executor['start']>[0], options: StartOptions = {}): Run {
    let text = '';
    const id = `guest-${++this.#runs}`;
    const { promise, resolve } = Promise.withResolvers<Ending>();
    const instance = this.executor.start(loaded, {
      id,
      name: `default/${id}/main`,
      grant: options.grant ?? grant,
      args: new StringBlock([id]),
      env: new StringBlock([]),
      output: { write: (_stream, bytes) => void (text += Buffer.from(bytes).toString()) },
      memoryLimitBytes: options.memoryLimitBytes ?? 1 << 20,
      ...(options.onReady && { onReady: options.onReady }),
      onEnd: resolve,
    });
    return { instance, ended: promise, output: () => text };
  }
}
