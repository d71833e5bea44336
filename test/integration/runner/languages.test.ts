import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { guest, languages } from '../../support/guests.ts';
import { RunnerWorld } from '../../support/runner-world.ts';

const run = promisify(execFile);
const main = new URL('../../../src/main.ts', import.meta.url).pathname;

describe.each(languages)('a command module in %s', (language) => {
  let world: RunnerWorld;
  let module: string;
  beforeAll(async () => {
    [world, module] = await Promise.all([RunnerWorld.open(), guest(language, 'everyday')]);
    world.listen();
  });
  afterAll(() => world[Symbol.asyncDispose]());

  const expectOutput = (text: string): void => {
    const lines = text.trimEnd().split('\n');
    expect(lines[0]).toBe('args 2 40 7');
    expect(lines[1]).toBe('env hello there');
    const [, seconds] = /^wall (\d+)$/.exec(lines[2] ?? '') ?? [];
    expect(Math.abs(Number(seconds) * 1000 - Date.now())).toBeLessThan(60_000);
    expect(lines[3]).toBe('slept enough');
    expect(lines).toHaveLength(4);
  };

  it('prints, reads arguments, environment and clocks, sleeps and exits with its code in the runner', async () => {
    const id = await world.start(module, {
      args: ['everyday', '40', '7'],
      env: ['GREETING=hello there'],
      memoryLimitBytes: 64 << 20,
    });
    expect(await world.receiver.exit(id)).toEqual({ exitCode: 7, reason: 'Error', message: '' });
    expectOutput(world.receiver.text(id));
    expect(world.receiver.text(id, 'stderr')).toBe('done\n');
  });

  it('does the same under loamlet run', async () => {
    const env = { ...process.env, XDG_CACHE_HOME: world.folder };
    const outcome = await run(process.execPath, [main, 'run', '--env', 'GREETING=hello there', module, '40', '7'], {
      env,
    }).catch((error: { code: number; stdout: string; stderr: string }) => error);
    expect(outcome).toMatchObject({ code: 7, stderr: 'done\n' });
    expectOutput(outcome.stdout);
  });
});
