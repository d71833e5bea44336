/**
 * One container of one pod over all its runs, as a pure machine: (state, event) gives the next state and what is to be
 * done, as data. It knows no clock, runner or registry.
 *
 *   waiting -> preparing -> starting -> running -> waiting (CrashLoopBackOff) -> preparing ...
 *                  |            |          |
 *                  v            v          v
 *               waiting      waiting    stopping -> ended
 *             (ErrImagePull, GrantDenied, ...)
 *
 * A container that can't start stays `waiting` with a reason and is tried again with back-off, for ever: an ended pod
 * would be replaced by its controller at once. `ended` is final.
 */
import type { ContainerExit, ContainerId } from '../runner/protocol.ts';
import { backoffMs, crashBackoff, recheckBackoff } from './backoff.ts';
import type { RestartPolicy } from './pod.ts';

export type ContainerState =
  /** Not being worked on until the timer; `attempt` counts the failures in a row. */
  | { readonly type: 'waiting'; readonly reason: string; readonly message: string; readonly attempt: number }
  /** Image, module and grant are being fetched. Shown as `reason` of an earlier failure, or ContainerCreating. */
  | { readonly type: 'preparing'; readonly reason: string; readonly message: string; readonly attempt: number }
  | {
      readonly type: 'starting';
      readonly id: ContainerId;
      readonly attempt: number;
      readonly image: RunningImage;
      readonly reason: string;
      readonly message: string;
    }
  | {
      readonly type: 'running';
      readonly id: ContainerId;
      readonly startedAtMs: number;
      readonly ready: boolean;
      readonly image: RunningImage;
    }
  | {
      readonly type: 'stopping';
      readonly id: ContainerId;
      readonly startedAtMs: number | undefined;
      readonly image: RunningImage;
    }
  /** `exit` is absent for a container that never ran. */
  | { readonly type: 'ended'; readonly exit?: Ended };

/** What ran: for `imageID`. */
export interface RunningImage {
  readonly reference: string;
  readonly imageId: string;
}

export interface Ended extends ContainerExit {
  readonly id: ContainerId;
  readonly image: RunningImage;
}

export interface Container {
  readonly state: ContainerState;
  readonly restartCount: number;
  /** Crashes in a row, for the back-off. */
  readonly crashes: number;
  readonly last?: Ended;
}

export type ContainerEvent =
  | { readonly type: 'due' }
  | { readonly type: 'prepared'; readonly id: ContainerId; readonly image: RunningImage }
  | { readonly type: 'refused'; readonly reason: string; readonly message: string }
  | { readonly type: 'started'; readonly startedAtMs: number }
  | { readonly type: 'startFailed'; readonly reason: string; readonly message: string }
  | { readonly type: 'ready'; readonly ready: boolean }
  | { readonly type: 'exited'; readonly exit: ContainerExit }
  | { readonly type: 'stop'; readonly graceMs: number };

export type ContainerEffect =
  | { readonly type: 'prepare' }
  | { readonly type: 'start'; readonly id: ContainerId }
  | { readonly type: 'stop'; readonly id: ContainerId; readonly graceMs: number }
  /** The runner may forget this run. */
  | { readonly type: 'forget'; readonly id: ContainerId }
  /** Send `due` after this long. */
  | { readonly type: 'wait'; readonly ms: number }
  | {
      readonly type: 'event';
      readonly eventType: 'Normal' | 'Warning';
      readonly reason: string;
      readonly message: string;
    };

export interface Step {
  readonly container: Container;
  readonly effects: readonly ContainerEffect[];
}

export const newContainer: Container = {
  state: { type: 'waiting', reason: 'ContainerCreating', message: '', attempt: 0 },
  restartCount: 0,
  crashes: 0,
};

/** Events that do not fit the state are late news and change nothing. */
export function step(container: Container, event: ContainerEvent, restartPolicy: RestartPolicy): Step {
  const { state } = container;
  switch (event.type) {
    case 'due':
      // waiting -> preparing
      if (state.type !== 'waiting') return stay(container);
      return to(container, { ...state, type: 'preparing' }, { type: 'prepare' });
    case 'prepared':
      // preparing -> starting
      if (state.type !== 'preparing') return stay(container);
      return to(
        container,
        { ...state, type: 'starting', id: event.id, image: event.image },
        { type: 'start', id: event.id },
      );
    case 'refused':
      if (state.type !== 'preparing') return stay(container);
      return refuse(container, state, event);
    case 'startFailed':
      // stopping -> ended
      if (state.type === 'stopping') return to(container, endedBefore(container), { type: 'forget', id: state.id });
      if (state.type !== 'starting') return stay(container);
      return refuse(container, state, event, { type: 'forget', id: state.id });
    case 'started':
      // starting -> running
      if (state.type === 'stopping') return stay({ ...container, state: { ...state, startedAtMs: event.startedAtMs } });
      if (state.type !== 'starting') return stay(container);
      return to(
        container,
        { type: 'running', id: state.id, startedAtMs: event.startedAtMs, ready: true, image: state.image },
        { type: 'event', eventType: 'Normal', reason: 'Started', message: 'Started module' },
      );
    case 'ready':
      if (state.type !== 'running' || state.ready === event.ready) return stay(container);
      return to(container, { ...state, ready: event.ready });
    case 'exited':
      return exited(container, event.exit, restartPolicy);
    case 'stop':
      return stop(container, event.graceMs);
    default:
      return event satisfies never;
  }
}

/** preparing | starting -> waiting, to be tried again; an Event only when the reason is news. */
function refuse(
  container: Container,
  state: Extract<ContainerState, { type: 'preparing' | 'starting' }>,
  why: { readonly reason: string; readonly message: string },
  ...effects: readonly ContainerEffect[]
): Step {
  const attempt = state.attempt + 1;
  const news = state.reason !== why.reason || state.message !== why.message;
  return to(
    container,
    { type: 'waiting', reason: why.reason, message: why.message, attempt },
    ...effects,
    ...(news ? [{ type: 'event', eventType: 'Warning', reason: why.reason, message: why.message } as const] : []),
    { type: 'wait', ms: backoffMs(attempt, recheckBackoff) },
  );
}

/** running | starting -> ended, or waiting for a restart. */
function exited(container: Container, exit: ContainerExit, restartPolicy: RestartPolicy): Step {
  const { state } = container;
  if (state.type !== 'running' && state.type !== 'starting' && state.type !== 'stopping') return stay(container);
  const ended: Ended = { ...exit, id: state.id, image: state.image };
  const forget = { type: 'forget', id: state.id } as const;
  const again = restartPolicy === 'Always' || (restartPolicy === 'OnFailure' && exit.exitCode !== 0);
  if (state.type === 'stopping' || !again)
    return to({ ...container, last: ended }, { type: 'ended', exit: ended }, forget);
  const ranMs = exit.finishedAtMs - exit.startedAtMs;
  // The first restart is at once, as a kubelet's; then the back-off grows.
  const crashes = ranMs >= crashBackoff.resetAfterMs ? 0 : container.crashes;
  const delayMs = backoffMs(crashes, crashBackoff);
  const next = { ...container, last: ended, restartCount: container.restartCount + 1, crashes: crashes + 1 };
  const message = `back-off ${delayMs / 1000}s restarting the module, which ended with exit code ${exit.exitCode}`;
  return to(
    next,
    { type: 'waiting', reason: 'CrashLoopBackOff', message, attempt: 0 },
    forget,
    ...(delayMs > 0
      ? [
          {
            type: 'event',
            eventType: 'Warning',
            reason: 'BackOff',
            message: 'Back-off restarting failed module',
          } as const,
        ]
      : []),
    { type: 'wait', ms: delayMs },
  );
}

/** any -> stopping | ended */
function stop(container: Container, graceMs: number): Step {
  const { state } = container;
  switch (state.type) {
    case 'waiting':
    case 'preparing':
      return to(container, endedBefore(container));
    case 'starting':
    case 'running':
      return to(
        container,
        {
          type: 'stopping',
          id: state.id,
          startedAtMs: state.type === 'running' ? state.startedAtMs : undefined,
          image: state.image,
        },
        { type: 'event', eventType: 'Normal', reason: 'Killing', message: 'Stopping module' },
        { type: 'stop', id: state.id, graceMs },
      );
    case 'stopping':
      // A second request may only shorten the grace; the runner sees to that.
      return { container, effects: [{ type: 'stop', id: state.id, graceMs }] };
    case 'ended':
      return stay(container);
    default:
      return state satisfies never;
  }
}

/** It ends without another run: its last one, if there was any, is what is shown. */
function endedBefore({ last }: Container): ContainerState {
  return last === undefined ? { type: 'ended' } : { type: 'ended', exit: last };
}

function stay(container: Container): Step {
  return { container, effects: [] };
}

function to(container: Container, state: ContainerState, ...effects: readonly ContainerEffect[]): Step {
  return { container: { ...container, state }, effects };
}
