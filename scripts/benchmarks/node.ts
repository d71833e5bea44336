import { figure, type Family } from './figure.ts';
import { idleMemory } from './idle.ts';
import { NodeWorld } from './node-world.ts';
import { timePods } from './pod-start.ts';
import { median, quantile } from './statistics.ts';

const pods = 20;
const warmUp = 3;
const restartedMinutes = 0.5;

/** What needs a node in a cluster, which takes a while to start: one for all of it. */
export const measureNode = (wants: (name: 'pod_start_ms' | 'idle_pss_bytes') => boolean): Family =>
  async function* (bench) {
    bench.say('starting a control plane, a registry, a broker and a node');
    await using world = await NodeWorld.open(bench);
    if (wants('pod_start_ms')) {
      const times = (await timePods(world, warmUp + pods, bench.signal)).slice(warmUp);
      const start = times.map(({ startMs }) => startMs);
      yield figure(
        'pod_start_ms',
        median(start),
        `${pods} pods, one after the other, artifact warm; ${quantile(start, 0).toFixed(0)} to ${quantile(start, 1).toFixed(0)}; ` +
          `created to bound ${median(times.map(({ boundMs }) => boundMs)).toFixed(0)}`,
      );
    }
    if (wants('idle_pss_bytes')) {
      bench.say(`leaving the node idle for ${bench.idleMinutes} min, and for ${restartedMinutes} min after a restart`);
      const joined = await idleMemory(world, bench.idleMinutes, bench);
      await world.node.restart();
      await world.ready(bench.signal);
      const restarted = await idleMemory(world, restartedMinutes, bench);
      const mb = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`;
      yield figure(
        'idle_pss_bytes',
        joined.togetherBytes,
        `${bench.idleMinutes} min after it joined${wants('pod_start_ms') ? ` and ran ${warmUp + pods} pods` : ''}; private: agent ${mb(joined.agentPrivateBytes)}, ` +
          `runner ${mb(joined.runnerPrivateBytes)}; pages of files ${mb(joined.fileBytes)}; the kernel's PSS, less by what other ` +
          `Node.js processes here share, ${mb(joined.kernelPssBytes)}; ${(joined.cpu * 100).toFixed(1)} % of a core. ` +
          `Agent restarted, its certificate at hand: ${mb(restarted.togetherBytes)}, agent ${mb(restarted.agentPrivateBytes)}`,
      );
    }
  };
