import { measureIn } from './child.ts';
import { figure, type Family } from './figure.ts';
import { prepareGuest } from './guests.ts';
import type { SleeperMemory, SleeperSettings, WakeTimes } from './sleepers-child.ts';
import { median } from './statistics.ts';

const instances = 1000;
const rounds = 3;

export const measureInstanceMemory: Family = async function* ({ folder, signal }) {
  const module = await prepareGuest('sensor', folder, signal);
  const found: SleeperMemory[] = [];
  for (let round = 0; round < rounds; round++) {
    const settings: SleeperSettings = { module, measure: 'memory', instances };
    found.push(await measureIn<SleeperMemory>('sleepers-child', settings, signal));
  }
  const of = (name: keyof SleeperMemory): number => median(found.map((each) => each[name]));
  const total = (of('totalRssBytes') / 1e6).toFixed(0);
  yield* [
    figure(
      'instance_bytes',
      of('privateBytes'),
      `slope from ${instances} to ${2 * instances}, collected; resident ${Math.round(of('rssBytes'))}; the whole process ${total} MB with ${2 * instances}`,
    ),
  ];
};

export const measureWakes: Family = async function* ({ folder, signal }) {
  const module = await prepareGuest('sensor', folder, signal);
  const found: WakeTimes[] = [];
  for (let round = 0; round < rounds; round++) {
    const settings: SleeperSettings = { module, measure: 'wake', instances };
    found.push(await measureIn<WakeTimes>('sleepers-child', settings, signal));
  }
  const wakes = found.reduce((sum, each) => sum + each.wakes, 0);
  const cpuUs = found.map((each) => each.cpuUs);
  yield* [
    figure(
      'wake_cpu_us',
      Math.min(...cpuUs),
      `${instances} modules at 10 Hz, ${wakes} wakes, 3 s after their start; the quietest of ${rounds} processes, the median one ${median(cpuUs).toFixed(1)}`,
    ),
  ];
};
