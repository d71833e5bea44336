import { mkdtemp } from 'node:fs/promises';
import { join } from 'node:path';
import { measureIn } from './child.ts';
import type { ContainerMemory, ContainerSettings } from './containers-child.ts';
import { figure, type Family } from './figure.ts';
import { prepareGuest } from './guests.ts';

const containers = 1000;

export const measureContainerMemory: Family = async function* (bench) {
  const module = await prepareGuest('sensor', bench.folder, bench.signal);
  const folder = await mkdtemp(join(bench.folder, 'c-'));
  const settings: ContainerSettings = { module, folder, containers };
  const flags = ['--disable-warning=ExperimentalWarning'];
  const { privateBytes, rssBytes } = await measureIn<ContainerMemory>(
    'containers-child',
    settings,
    bench.signal,
    flags,
  );
  yield* [
    figure(
      'container_bytes',
      privateBytes,
      `of a runner process as the agent starts it, slope from ${containers} to ${2 * containers}, nothing collected on purpose; resident ${Math.round(rssBytes)}`,
    ),
  ];
};
