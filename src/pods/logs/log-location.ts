import type { Container } from '../container-machine.ts';

/** Which runs of a container have a log, as a kubelet sees it. */
export interface LogLocation {
  readonly uid: string;
  /** The run that runs, else the last that did; undefined before the first. */
  readonly run: number | undefined;
  /** The last run that has ended before the one that runs, for `--previous`. */
  readonly previous: number | undefined;
  /** More may be written to `run`. */
  readonly live: boolean;
  /** Why there is no run yet. */
  readonly waiting: string;
}

/** Between two runs both `run` and `previous` are the one that has ended, as with a kubelet. */
export function logLocation(uid: string, { state, restartCount }: Container): LogLocation {
  const before = restartCount > 0 ? restartCount - 1 : undefined;
  switch (state.type) {
    case 'waiting':
    case 'preparing':
      return { uid, run: before, previous: before, live: false, waiting: state.reason };
    case 'starting':
    case 'running':
    case 'stopping':
      return { uid, run: restartCount, previous: before, live: true, waiting: '' };
    case 'ended': {
      const run = state.exit === undefined ? before : restartCount;
      return { uid, run, previous: before, live: false, waiting: 'ContainerCreating' };
    }
    default:
      return state satisfies never;
  }
}
