import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { guest } from '../../support/guests.ts';
import { RunnerWorld } from '../../support/runner-world.ts';
import { assemble, i32, op } from '../../support/assemble.ts';
import { exiting, hello, program, sleeper, startSection, stubborn, trapping } from '../../support/tiny-guests.ts';

describe('a runner', () => {
  let world: RunnerWorld;
  beforeAll(async () => {
    world = (await RunnerWorld.open()).listen();
  });
  afterAll(() => world[Symbol.asyncDispose]());

  const lifecycle = (body: readonly number[]): Uint8Array =>
    assemble({
      imports: [
        { module: 'loamlet:host/lifecycle@0.1.0', name: 'stopping', results: [i32] },
        { module: 'wasi_snapshot_preview1', name: 'sched_yield', results: [i32] },
        { module: 'loamlet:host/lifecycle@0.1.0', name: 'set-ready', params: [i32] },
      ],
      memory: { min: 1 },
      functions: [{ export: '_start', body }],
    });

  it('runs a module to its end', async () => {
    const id = await world.start(hello);
    expect(await world.receiver.exit(id)).toEqual({ exitCode: 0, reason: 'Completed', message: '' });
    expect(world.receiver.text(id)).toBe('hello\n');
  });

  it('reports a trap as 134 with its name, in the log too', async () => {
    const id = await world.start(trapping);
    expect(await world.receiver.exit(id)).toEqual({
      exitCode: 134,
      reason: 'Error',
      message: 'wasm trap: unreachable',
    });
    expect(world.receiver.text(id, 'stderr')).toBe('wasm trap: unreachable\n');
  });

  it('gives the lowest 8 bits of an exit code', async () => {
    expect(await world.receiver.exit(await world.start(exiting(-1)))).toMatchObject({ exitCode: 255 });
    expect(await world.receiver.exit(await world.start(exiting(256)))).toMatchObject({
      exitCode: 0,
      reason: 'Completed',
    });
  });

  it('runs what stands in a start section, waits included', async () => {
    expect(await world.receiver.exit(await world.start(startSection))).toMatchObject({ exitCode: 9 });
  });

  it('reports a trap after a refused growth as OOMKilled', async () => {
    const id = await world.start(await guest('c', 'hungry'), { memoryLimitBytes: 4 << 20 });
    expect(await world.receiver.exit(id)).toEqual({
      exitCode: 137,
      reason: 'OOMKilled',
      message: 'its memory could not grow past 4Mi (wasm trap: unreachable)',
    });
  });

  it('does not start a module that asks for more memory than its limit, and says both numbers', async () => {
    const id = await world.start(
      program(({ print }) => print, { memory: { min: 64 } }),
      { memoryLimitBytes: 1 << 20 },
    );
    const { reason, message } = await world.receiver.heard(id, 'startFailed');
    expect(reason).toBe('CreateContainerError');
    expect(message).toContain('4Mi');
    expect(message).toContain('1Mi');
  });

  it('does not start a module that imports what it was not granted, and names it', async () => {
    const module = assemble({
      imports: [{ module: 'loamlet:host/sensors@0.1.0', name: 'open', params: [i32, i32, i32] }],
      memory: { min: 1 },
      functions: [{ export: '_start', body: [] }],
    });
    const { reason, message } = await world.receiver.heard(await world.start(module), 'startFailed');
    expect(reason).toBe('GrantDenied');
    expect(message).toContain('loamlet:host/sensors@0.1.0 open');
  });

  it('does not start a module whose import does not exist in WASI', async () => {
    const module = assemble({
      imports: [{ module: 'wasi_snapshot_preview1', name: 'fd_teleport' }],
      functions: [{ export: '_start', body: [] }],
    });
    const { reason, message } = await world.receiver.heard(await world.start(module), 'startFailed');
    expect(reason).toBe('CreateContainerError');
    expect(message).toContain('fd_teleport');
  });

  it('does not start a library', async () => {
    const id = await world.start(assemble({ functions: [{ export: 'add', body: [] }] }));
    expect((await world.receiver.heard(id, 'startFailed')).message).toContain('no _start function');
  });

  it('does not start a container whose device does not answer', async () => {
    const device = {
      name: 'bed-3',
      resource: 'soil-moisture',
      driver: 'ads1115',
      options: { bus: 250, address: 0x48, channel: 0 },
    };
    const id = await world.start(hello, {
      grant: { devices: [{ logicalName: 'soil-moisture', device, freshnessMs: 0 }] },
    });
    expect(await world.receiver.heard(id, 'startFailed')).toMatchObject({ reason: 'DeviceUnavailable' });
  });

  it('ends a sleeping module that knows no lifecycle at once, with 143', async () => {
    const id = await world.start(sleeper);
    await world.receiver.heard(id, 'started');
    world.client.stop(id, 3_600_000);
    expect(await world.receiver.exit(id)).toMatchObject({ exitCode: 143, reason: 'Killed' });
  });

  it('ends a module that catches everything', async () => {
    const id = await world.start(stubborn);
    await world.receiver.until(() => world.receiver.text(id) === 'hello\n');
    world.client.stop(id, 0);
    expect(await world.receiver.exit(id)).toMatchObject({ exitCode: 143 });
  });

  it('lets a module that asks finish within its grace', async () => {
    // loop: yield until stopping
    const id = await world.start(
      lifecycle([0x03, 0x40, ...op.call(1), ...op.drop, ...op.call(0), 0x45, 0x0d, 0, 0x0b]),
    );
    await world.receiver.heard(id, 'started');
    world.client.stop(id, 3_600_000);
    expect(await world.receiver.exit(id)).toEqual({ exitCode: 0, reason: 'Completed', message: '' });
  });

  it('ends a module that does not stop within its grace, with 137', async () => {
    const id = await world.start(lifecycle(op.loop([...op.call(1), ...op.drop])));
    await world.receiver.heard(id, 'started');
    world.client.stop(id, 20);
    expect(await world.receiver.exit(id)).toMatchObject({ exitCode: 137, reason: 'Killed' });
  });

  it('tells readiness after the start', async () => {
    const id = await world.start(lifecycle([...op.i32(0), ...op.call(2)]));
    await world.receiver.exit(id);
    expect(world.receiver.messages.filter((message) => message.id === id).map(({ type }) => type)).toEqual([
      'started',
      'ready',
      'exited',
    ]);
  });

  it('runs a hundred modules at once', async () => {
    const container = await world.container(
      program(({ print, sleep, exit }) => [...print, ...sleep(200), ...print, ...exit(3)]),
    );
    const ids = Array.from({ length: 100 }, (_, i) => `hundred-${i}`);
    for (const id of ids) world.client.start({ ...container, id });
    await Promise.all(ids.map((id) => world.receiver.heard(id, 'started')));
    expect(world.receiver.messages.some(({ type, id }) => type === 'exited' && id.startsWith('hundred-'))).toBe(false);
    const exits = await Promise.all(ids.map((id) => world.receiver.exit(id)));
    expect(new Set(exits.map(({ exitCode }) => exitCode))).toEqual(new Set([3]));
    for (const id of ids) expect(world.receiver.text(id)).toBe('hello\nhello\n');
  });

  it('says how much of a log was dropped when nobody takes it', async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    world.receiver.gate = promise;
    const text = `${'x'.repeat(999)}\n`;
    const id = await world.start(
      program(({ print, exit }) => [...Array.from({ length: 3000 }, () => print).flat(), ...exit(0)], { text }),
    );
    await world.receiver.until(() => world.receiver.text(id).length > 0);
    resolve();
    await world.receiver.exit(id);
    const kept = world.receiver.text(id).length;
    const [, dropped] = /^\[loamlet: (\d+) bytes of log dropped\]$/m.exec(world.receiver.text(id, 'stderr')) ?? [];
    expect(Number(dropped) + kept).toBe(3_000_000);
    expect(kept).toBeLessThanOrEqual(1 << 20);
  });
});
