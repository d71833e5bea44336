import { printable } from '../base/printable.ts';
import type { PodLine } from '../observe/node-status.ts';
import { podPhase, type PodView } from './pod-status.ts';

/** A pod's line in `loamlet status`. */
export function podLine(view: PodView): PodLine {
  const states = view.containers.map(({ state }) => state);
  const why = states
    .map((state) => ('reason' in state ? state : state.type === 'ended' ? state.exit : undefined))
    .find((state) => state !== undefined && state.reason !== '');
  const ready = states.filter((state) => state.type === 'running' && state.ready).length;
  return {
    namespace: view.pod.namespace,
    name: view.pod.name,
    source: view.pod.source,
    phase: podPhase(view),
    ready: `${ready}/${states.length}`,
    restarts: view.containers.reduce((sum, { restartCount }) => sum + restartCount, 0),
    reason: why?.reason ?? '',
    message: printable(why?.message ?? '', 1000),
  };
}
