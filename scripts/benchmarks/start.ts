import { measureIn } from './child.ts';
import { figure, type Family } from './figure.ts';
import { prepareGuest } from './guests.ts';
import type { StartSettings, StartTimes } from './start-child.ts';
import { median, quantile } from './statistics.ts';

const starts = 500;
const rounds = 5;

/** Several processes of each kind in alternation, and the quietest of each: a noisy minute hits all kinds. */
export const measureStarts: Family = async function* ({ folder, signal }) {
  const module = await prepareGuest('sensor', folder, signal);
  const kinds = {
    instance: { kind: 'instance', turns: true },
    row: { kind: 'instance', turns: false },
    container: { kind: 'container', turns: true },
    bare: { kind: 'bare', turns: true },
  } as const;
  const p50: Record<keyof typeof kinds, number[]> = { instance: [], row: [], container: [], bare: [] };
  const p99: typeof p50 = { instance: [], row: [], container: [], bare: [] };
  let lost = 0;
  for (let round = 0; round < rounds; round++) {
    for (const name of Object.keys(kinds) as (keyof typeof kinds)[]) {
      const settings: StartSettings = { module, starts, ...kinds[name] };
      const { us, disturbed } = await measureIn<StartTimes>('start-child', settings, signal);
      p50[name].push(quantile(us, 0.5));
      p99[name].push(quantile(us, 0.99));
      lost += disturbed;
    }
  }
  const best = (of: typeof p50, name: keyof typeof kinds): number => Math.min(...of[name]);
  const us = (of: typeof p50, name: keyof typeof kinds): string =>
    `${best(of, name).toFixed(1)} (median process ${median(of[name]).toFixed(1)})`;
  const ratio = (of: typeof p50): string => (best(of, 'instance') / best(of, 'bare')).toFixed(2);
  const left = Math.round((100 * lost) / (rounds * starts * 4));
  const note = (of: typeof p50): string =>
    `${starts} starts, one a turn of the event loop; the quietest of ${rounds} processes, the median one ${median(of.instance).toFixed(1)}; ` +
    `in one go ${us(of, 'row')}; V8 alone, imports that do nothing: ${us(of, 'bare')}, so ${ratio(of)}x`;
  yield* [
    figure('instance_start_us', best(p50, 'instance'), note(p50)),
    figure(
      'instance_start_p99_us',
      best(p99, 'instance'),
      `${note(p99)}; without the ${left} % during which another process had the core`,
    ),
    figure(
      'container_start_us',
      best(p50, 'container'),
      `from the runner's container on: imports against grant, devices, log; p99 ${us(p99, 'container')}`,
    ),
  ];
};
