import { figure, type Family } from './figure.ts';
import { idleMemory } from './idle.ts';
import { NodeWorld } from './node-world.ts';
import { timePods } from './pod-start.ts';
import { median, quantile } from './statistics.ts';

const pods = 20;
const warmUp = 3;

/** What needs a node in a cluster, which takes a while to start: one for all of it. */
export const measureNode =
  (wants: (name: 'pod_start_ms' | 'idle_pss_bytes') => boolean): Family =>
  async (bench) => {
    bench.say('starting a control plane, a registry, a broker and a node');
    await using world = await NodeWorld.open(bench);
    const found = [];
    if (wants('pod_start_ms')) {
      const times = (await timePods(world, warmUp + pods, bench.signal)).slice(warmUp);
      const start = times.map(({ startMs }) => startMs);
      found.push(
        figure(
          'pod_start_ms',
          median(start),
          `${pods} pods, one after the other, artifact warm; ${quantile(start, 0).toFixed(0)} to ${quantile(start, 1).toFixed(0)}; ` +
            `created to bound ${median(times.map(({ boundMs }) => boundMs)).toFixed(0)}`,
        ),
      );
    }
    if (wants('idle_pss_bytes')) {
      const { togetherBytes, fileBytes, kernelPssBytes, agentPrivateBytes, runnerPrivateBytes, cpu } = await idleMemory(
        world,
        bench,
      );
      const mb = (bytes: number): string => (bytes / 1e6).toFixed(1);
      found.push(
        figure(
          'idle_pss_bytes',
          togetherBytes,
          `after ${bench.idleMinutes} min; private: agent ${mb(agentPrivateBytes)} MB, runner ${mb(runnerPrivateBytes)} MB; ` +
            `pages of files ${mb(fileBytes)} MB; the kernel's PSS, less by what other Node.js processes share, ${mb(kernelPssBytes)} MB; ` +
            `${(cpu * 100).toFixed(1)} % of a core`,
        ),
      );
    }
    return found;
  };
