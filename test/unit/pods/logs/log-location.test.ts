import { expect, test } from 'vitest';
import { newContainer, step, type Container, type ContainerEvent } from '../../../../src/pods/container-machine.ts';
import { logLocation } from '../../../../src/pods/logs/log-location.ts';

const image = { reference: 'r', imageId: 'i' };
const exit = { startedAtMs: 0, finishedAtMs: 1, exitCode: 1, reason: 'Error', message: '' } as const;

function after(events: readonly ContainerEvent[], policy: 'Always' | 'Never' = 'Always'): Container {
  return events.reduce((container, event) => step(container, event, policy).container, newContainer);
}

const oneRun: ContainerEvent[] = [
  { type: 'due' },
  { type: 'prepared', id: 'a', image },
  { type: 'started', startedAtMs: 0 },
];

test.each([
  ['before the first run', [], { run: undefined, previous: undefined, live: false, waiting: 'ContainerCreating' }],
  ['in the first run', oneRun, { run: 0, previous: undefined, live: true }],
  ['between two runs', [...oneRun, { type: 'exited', exit }], { run: 0, previous: 0, live: false }],
  ['in the second run', [...oneRun, { type: 'exited', exit }, ...oneRun], { run: 1, previous: 0, live: true }],
] as const)('%s', (_, events, expected) => {
  expect(logLocation('u', after(events))).toMatchObject(expected);
});

test('after the last run', () => {
  expect(logLocation('u', after([...oneRun, { type: 'exited', exit }], 'Never'))).toMatchObject({
    run: 0,
    previous: undefined,
    live: false,
  });
});
