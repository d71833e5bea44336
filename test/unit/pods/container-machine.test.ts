import { describe, expect, it } from 'vitest';
import {
  newContainer,
  step,
  type Container,
  type ContainerEffect,
  type ContainerEvent,
  type ContainerState,
} from '../../../src/pods/container-machine.ts';
import type { RestartPolicy } from '../../../src/pods/pod.ts';
import type { ContainerExit } from '../../../src/runner/protocol.ts';

const image = { reference: 'registry/c:1', imageId: 'registry/c@sha256:0' };
const why = { reason: 'ErrImagePull', message: 'no such image' };
const exit = (exitCode: number, ranMs = 1_000): ContainerExit => ({
  startedAtMs: 50_000,
  finishedAtMs: 50_000 + ranMs,
  exitCode,
  reason: exitCode === 0 ? 'Completed' : 'Error',
  message: '',
});

const states = {
  waiting: { type: 'waiting', reason: 'ContainerCreating', message: '', attempt: 0 },
  preparing: { type: 'preparing', reason: 'ContainerCreating', message: '', attempt: 0 },
  starting: { type: 'starting', id: 'run', attempt: 0, image, reason: 'ContainerCreating', message: '' },
  running: { type: 'running', id: 'run', startedAtMs: 50_000, ready: true, image },
  stopping: { type: 'stopping', id: 'run', startedAtMs: 50_000, image },
  ended: { type: 'ended', exit: { ...exit(0), id: 'run', image } },
} as const satisfies { readonly [Type in ContainerState['type']]: ContainerState };

const events = {
  due: { type: 'due' },
  prepared: { type: 'prepared', id: 'new', image },
  refused: { type: 'refused', ...why },
  started: { type: 'started', startedAtMs: 60_000 },
  startFailed: { type: 'startFailed', ...why },
  ready: { type: 'ready', ready: false },
  exited: { type: 'exited', exit: exit(0) },
  stop: { type: 'stop', graceMs: 30_000 },
} as const satisfies { readonly [Type in ContainerEvent['type']]: ContainerEvent };

type StateName = keyof typeof states;
type EventName = keyof typeof events;

/** With restartPolicy Always. What is not here changes nothing and does nothing. */
const arrows: { readonly [From in StateName]: { readonly [By in EventName]?: readonly [StateName, ...string[]] } } = {
  waiting: { due: ['preparing', 'prepare'], stop: ['ended'] },
  preparing: {
    prepared: ['starting', 'start new'],
    refused: ['waiting', 'event ErrImagePull', 'wait 10000'],
    stop: ['ended'],
  },
  starting: {
    started: ['running', 'event Started'],
    startFailed: ['waiting', 'forget run', 'event ErrImagePull', 'wait 10000'],
    exited: ['waiting', 'forget run', 'wait 0'],
    stop: ['stopping', 'event Killing', 'stop run 30000'],
  },
  running: {
    ready: ['running'],
    exited: ['waiting', 'forget run', 'wait 0'],
    stop: ['stopping', 'event Killing', 'stop run 30000'],
  },
  stopping: {
    started: ['stopping'],
    startFailed: ['ended', 'forget run'],
    exited: ['ended', 'forget run'],
    stop: ['stopping', 'stop run 30000'],
  },
  ended: {},
};

function show(effect: ContainerEffect): string {
  switch (effect.type) {
    case 'prepare':
      return 'prepare';
    case 'start':
    case 'forget':
      return `${effect.type} ${effect.id}`;
    case 'stop':
      return `stop ${effect.id} ${effect.graceMs}`;
    case 'wait':
      return `wait ${effect.ms}`;
    case 'event':
      return `event ${effect.reason}`;
    default:
      return effect satisfies never;
  }
}

function after(container: Container, policy: RestartPolicy, ...news: readonly ContainerEvent[]): Container {
  return news.reduce((now, event) => step(now, event, policy).container, container);
}

describe.each(Object.keys(states) as StateName[])('a container that is %s', (from) => {
  const container: Container = { ...newContainer, state: states[from] };

  it.each(Object.keys(events) as EventName[])('on %s', (by) => {
    const result = step(container, events[by], 'Always');
    const arrow = arrows[from][by];
    if (arrow === undefined) {
      expect(result.container).toBe(container);
      expect(result.effects).toEqual([]);
    } else {
      const [to, ...effects] = arrow;
      expect(result.container.state.type).toBe(to);
      expect(result.effects.map(show)).toEqual(effects);
    }
  });
});

describe('the restart policy', () => {
  const running: Container = { ...newContainer, state: states.running };
  it.each<[RestartPolicy, number, StateName]>([
    ['Always', 0, 'waiting'],
    ['Always', 1, 'waiting'],
    ['OnFailure', 0, 'ended'],
    ['OnFailure', 1, 'waiting'],
    ['Never', 0, 'ended'],
    ['Never', 1, 'ended'],
  ])('%s after exit code %d: %s', (policy, code, to) => {
    const next = after(running, policy, { type: 'exited', exit: exit(code) });
    expect(next.state.type).toBe(to);
    expect(next.last).toMatchObject({ id: 'run', exitCode: code, image });
    expect(next.restartCount).toBe(to === 'waiting' ? 1 : 0);
    if (next.state.type === 'ended') expect(next.state.exit?.exitCode).toBe(code);
  });

  it('restarts nothing that was asked to stop', () => {
    const next = after(running, 'Always', events.stop, { type: 'exited', exit: exit(143) });
    expect(next).toMatchObject({ state: { type: 'ended', exit: { exitCode: 143 } }, restartCount: 0 });
  });
});

describe('the back-off of a module that ends again and again', () => {
  const crash = (container: Container, ranMs: number): [Container, number] => {
    const start = after(container, 'Always', events.due, events.prepared, events.started);
    const { container: next, effects } = step(start, { type: 'exited', exit: exit(1, ranMs) }, 'Always');
    const wait = effects.find((effect) => effect.type === 'wait');
    return [next, wait?.type === 'wait' ? wait.ms / 1000 : NaN];
  };
  const crashes = (container: Container, count: number): [Container, number[]] => {
    const waits: number[] = [];
    let now = container;
    for (let index = 0; index < count; index++) {
      const [next, wait] = crash(now, 1_000);
      now = next;
      waits.push(wait);
    }
    return [now, waits];
  };

  it('is a kubelet’s: at once, then 10 s, doubled up to 5 minutes', () => {
    const [container, waits] = crashes(newContainer, 9);
    expect(waits).toEqual([0, 10, 20, 40, 80, 160, 300, 300, 300]);
    expect(container.restartCount).toBe(9);
    expect(container.state).toMatchObject({ type: 'waiting', reason: 'CrashLoopBackOff' });
  });

  it('begins anew after ten minutes of life', () => {
    const [looping] = crashes(newContainer, 5);
    const [recovered, wait] = crash(looping, 600_000);
    expect(wait).toBe(0);
    expect(crashes(recovered, 2)[1]).toEqual([10, 20]);
  });

  it('is not undone by just under ten minutes', () => {
    const [looping] = crashes(newContainer, 3);
    expect(crash(looping, 599_999)[1]).toBe(40);
  });

  it('does not grow without bound however long it goes on', () => {
    const [, waits] = crashes({ ...newContainer, crashes: 5_000 }, 1);
    expect(waits).toEqual([300]);
  });
});

describe('a container that cannot start', () => {
  const again = (container: Container, event: ContainerEvent): [Container, string[]] => {
    const due = step(container, { type: 'due' }, 'Always').container;
    const { container: next, effects } = step(due, event, 'Always');
    return [next, effects.map(show)];
  };

  it('is tried again after 10 s, doubled up to 5 minutes, for ever', () => {
    let now = newContainer;
    const waits = Array.from({ length: 8 }, () => {
      const [next, effects] = again(now, events.refused);
      now = next;
      return effects.at(-1);
    });
    expect(waits).toEqual([10, 20, 40, 80, 160, 300, 300, 300].map((seconds) => `wait ${seconds * 1000}`));
    expect(now.state).toMatchObject({ type: 'waiting', ...why, attempt: 8 });
    expect(now.restartCount).toBe(0);
  });

  it('gives one Event per news', () => {
    const [first, effects] = again(newContainer, events.refused);
    expect(effects).toContain('event ErrImagePull');
    const [second, same] = again(first, events.refused);
    expect(same).not.toContain('event ErrImagePull');
    const [third, otherMessage] = again(second, { ...events.refused, message: 'timeout' });
    expect(otherMessage).toContain('event ErrImagePull');
    const [, otherReason] = again(third, { type: 'refused', reason: 'GrantDenied', message: 'timeout' });
    expect(otherReason).toContain('event GrantDenied');
  });

  it('shows its reason while it is tried again', () => {
    const [refused] = again(newContainer, events.refused);
    const preparing = after(refused, 'Always', events.due);
    expect(preparing.state).toMatchObject({ type: 'preparing', ...why });
    expect(after(preparing, 'Always', events.prepared).state).toMatchObject({ type: 'starting', ...why });
  });

  it('never ends by itself, whatever its restart policy', () => {
    const [refused] = again(newContainer, events.refused);
    for (const policy of ['Always', 'OnFailure', 'Never'] as const) {
      const next = after(refused, policy, events.due, events.prepared, events.startFailed);
      expect(next.state.type).toBe('waiting');
    }
  });
});

describe('a container that is stopped', () => {
  const crashed = after(newContainer, 'Always', events.due, events.prepared, events.started, {
    type: 'exited',
    exit: exit(3),
  });

  it.each<[string, readonly ContainerEvent[]]>([
    ['while it waits', [events.stop]],
    ['while it is prepared', [events.due, events.stop]],
    ['while it starts, which then fails', [events.due, events.prepared, events.stop, events.startFailed]],
  ])('%s shows its last run', (_, news) => {
    expect(after(crashed, 'Always', ...news).state).toMatchObject({ type: 'ended', exit: { exitCode: 3, id: 'new' } });
    expect(after(newContainer, 'Always', ...news).state).toEqual({ type: 'ended' });
  });

  it('while it starts is known to have run when it says so', () => {
    const stopping = after(newContainer, 'Always', events.due, events.prepared, events.stop);
    expect(stopping.state).toMatchObject({ type: 'stopping', startedAtMs: undefined });
    expect(after(stopping, 'Always', events.started).state).toMatchObject({ startedAtMs: 60_000 });
  });

  it('a second time is not news', () => {
    const stopping = after({ ...newContainer, state: states.running }, 'Always', events.stop);
    const again = step(stopping, { type: 'stop', graceMs: 1 }, 'Always');
    expect(again.container).toBe(stopping);
    expect(again.effects).toEqual([{ type: 'stop', id: 'run', graceMs: 1 }]);
  });
});

it('every run that the runner was told of is forgotten once, on whatever way it ends', () => {
  // All words of news up to a length, over all policies: an exhaustive walk of the machine.
  const alphabet = Object.values(events);
  const walk = (container: Container, policy: RestartPolicy, runs: ReadonlyMap<string, string>, left: number): void => {
    for (const event of alphabet) {
      const id = `run-${runs.size}`;
      const named = event.type === 'prepared' ? { ...event, id } : event;
      const { container: next, effects } = step(container, named, policy);
      const known = new Map(runs);
      for (const effect of effects) {
        if (effect.type === 'start') {
          expect([...known.values()]).not.toContain('known');
          known.set(effect.id, 'known');
        } else if (effect.type === 'forget') {
          expect(known.get(effect.id)).toBe('known');
          known.set(effect.id, 'forgotten');
        } else if (effect.type === 'stop') expect(known.get(effect.id)).toBe('known');
      }
      const running = 'id' in next.state ? 1 : 0;
      expect([...known.values()].filter((state) => state === 'known')).toHaveLength(running);
      if (container.state.type === 'ended') expect(next).toBe(container);
      else if (left > 1 && next !== container) walk(next, policy, known, left - 1);
    }
  };
  for (const policy of ['Always', 'OnFailure', 'Never'] as const) walk(newContainer, policy, new Map(), 8);
});
