import { spawnSync } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Mosquitto } from '../../test/support/mosquitto.ts';
import { measureIn } from './child.ts';
import { figure, type Bench, type Family } from './figure.ts';
import { prepareGuest } from './guests.ts';
import type { PublishRates, PublishSettings } from './publish-child.ts';
import type { PrecompiledModule } from '../../src/precompile/precompiler.ts';

const modules = 100;
const seconds = 4;
/** Not /tmp, which may be memory. */
const disk = '/var/tmp';

export const measurePublishes: Family = async function* (bench) {
  const module = await prepareGuest('publisher', bench.folder, bench.signal);
  const rates = [await measure(bench, module), await measure(bench, module)];
  const best = rates.reduce((a, b) => (a.committedPerSecond >= b.committedPerSecond ? a : b));
  const each = rates.map(({ committedPerSecond }) => Math.round(committedPerSecond)).join(', ');
  yield* [
    figure(
      'publish_per_second',
      best.committedPerSecond,
      `${modules} modules in one runner process, no broker; runs ${each}; ${commits(best)}`,
    ),
  ];
};

export const measureDeliveries: Family = async function* (bench) {
  if (spawnSync('mosquitto', ['-h']).error) {
    yield figure('delivered_per_second', null, 'not measured: mosquitto is not installed');
    return;
  }
  const module = await prepareGuest('publisher', bench.folder, bench.signal);
  await using broker = await Mosquitto.start({ lines: ['max_inflight_messages 0'] });
  const rates = await measure(bench, module, broker.url);
  yield* [
    figure(
      'delivered_per_second',
      rates.deliveredPerSecond,
      `QoS 1 to mosquitto on this machine, ${modules} modules publishing ${Math.round(rates.committedPerSecond)}/s meanwhile; ${commits(rates)}`,
    ),
  ];
};

async function measure({ signal }: Bench, module: PrecompiledModule, brokerUrl?: string): Promise<PublishRates> {
  const folder = await mkdtemp(join(disk, 'loamlet-bench-'));
  try {
    const settings: PublishSettings = {
      module,
      folder,
      modules,
      seconds,
      ...(brokerUrl !== undefined && { brokerUrl }),
    };
    return await measureIn<PublishRates>('publish-child', settings, signal, ['--disable-warning=ExperimentalWarning']);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function commits({ publishesPerCommit, commitMsMean, commitMsMax, agentCpu }: PublishRates): string {
  return (
    `${publishesPerCommit.toFixed(0)} publishes a commit of ${commitMsMean.toFixed(1)} ms (longest ${commitMsMax.toFixed(0)}), ` +
    `agent at ${(agentCpu * 100).toFixed(0)} % of a core`
  );
}
