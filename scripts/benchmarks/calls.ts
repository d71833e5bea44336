import { measureIn } from './child.ts';
import type { CallTimes } from './calls-child.ts';
import { figure, type Family } from './figure.ts';
import { prepareGuest } from './guests.ts';

const rounds = 3;

/** What a call costs at least, so the best of several processes of sixty short rounds each. */
export const measureCalls: Family = async function* ({ folder, signal }) {
  const module = await prepareGuest('calls', folder, signal);
  const times: CallTimes[] = [];
  for (let round = 0; round < rounds; round++)
    times.push(await measureIn<CallTimes>('calls-child', { module }, signal));
  const best = (name: keyof CallTimes): number => Math.min(...times.map((each) => each[name]));
  const ns = (name: keyof CallTimes): string => best(name).toFixed(1);
  const ratio = (name: keyof CallTimes, bare: keyof CallTimes): string => (best(name) / best(bare)).toFixed(2);
  yield* [
    figure(
      'hostcall_ns',
      best('plain'),
      `lifecycle.stopping; the bare engine ${ns('barePlain')}, so ${ratio('plain', 'barePlain')}x; WASI clock ${ns('clock')}`,
    ),
    figure(
      'suspend_ns',
      best('yield'),
      `sched_yield: parked, run queue, resumed; the bare engine ${ns('bareSuspend')}, so ${ratio('yield', 'bareSuspend')}x; ` +
        `a host call with a settled promise ${ns('wait')}`,
    ),
  ];
};
