import { DeviceHub } from '../../devices/hub.ts';
import { LinuxBuses } from '../../devices/linux/i2c.ts';
import { emptyGrant } from '../../hostcalls/grant.ts';
import type { HostInterface } from '../../hostcalls/guest.ts';
import { hostInterfaces } from '../../hostcalls/interfaces.ts';
import type { PrecompiledModule } from '../../src/precompile/precompiler.ts';
import { Executor } from '../../src/runner/executor.ts';
import type { Ending, Instance } from '../../src/runner/instance.ts';
import { Modules, type LoadedModule } from '../../src/runner/modules.ts';
import { PublishQueue } from '../../src/runner/publish-queue.ts';
import { StringBlock } from '../../src/runner/string-block.ts';
import type { Output } from '../../src/runner/wasi/guest.ts';

const memoryLimitBytes = 64 << 20;

/** The executor with the import tables of a runner, in this process, and one module to run. */
export class ExecutorWorld {
  readonly modules = new Modules();
  readonly devices = new DeviceHub({ buses: new LinuxBuses(), onHealth: () => {} });
  readonly executor: Executor;
  loaded!: LoadedModule;

  private constructor(more: readonly HostInterface[]) {
    const interfaces = hostInterfaces({ devices: this.devices, publisher: new PublishQueue() });
    this.executor = new Executor([...interfaces, ...more]);
  }

  static async open(module: PrecompiledModule, more: readonly HostInterface[] = []): Promise<ExecutorWorld> {
    const world = new ExecutorWorld(more);
    world.loaded = await world.modules.use(module.digest, module.path);
    return world;
  }

  /** All of it belongs to a request for one more instance. */
  start(id: number, args: readonly string[], output: Output, onEnd: (ending: Ending) => void = () => {}): Instance {
    return this.executor.start(this.loaded, {
      id: String(id),
      name: `bench/sensor-${id}/sensor`,
      grant: emptyGrant,
      args: new StringBlock(args),
      env: new StringBlock([]),
      output,
      memoryLimitBytes,
      onEnd,
    });
  }

  /** Ends them and has their memory collected. */
  async end(instances: readonly Instance[]): Promise<void> {
    for (const instance of instances) instance.kill(137, '');
    while (this.executor.running > 0) await new Promise(setImmediate);
    await collect();
  }
}

/** Twice: what a first collection finalises is free after the second. */
export async function collect(): Promise<void> {
  for (let n = 0; n < 2; n++) {
    globalThis.gc?.();
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}
