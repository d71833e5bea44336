import { spawn, type ChildProcess, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { assemble, i32, op } from '../../support/assemble.ts';
import { guest } from '../../support/guests.ts';
import { Mosquitto } from '../../support/mosquitto.ts';
import { Subscriber } from '../../support/subscriber.ts';
import { tempFolder } from '../../support/temp-folder.ts';
import { hello, sleeper, spinning, trapping } from '../../support/tiny-guests.ts';

const main = new URL('../../../src/main.ts', import.meta.url).pathname;

/** Publishes 42 to garden/bed. */
const publishing = assemble({
  imports: [{ module: 'loamlet:host/messaging@0.1.0', name: 'publish', params: [i32, i32, i32, i32, i32] }],
  memory: { min: 1 },
  functions: [
    {
      export: '_start',
      body: [...op.i32(8), ...op.i32(10), ...op.i32(24), ...op.i32(2), ...op.i32(64), ...op.call(0)],
    },
  ],
  data: [
    { at: 8, bytes: 'garden/bed' },
    { at: 24, bytes: '42' },
  ],
});

describe('loamlet run', () => {
  let folder: Awaited<ReturnType<typeof tempFolder>>;
  beforeAll(async () => {
    folder = await tempFolder();
  });
  const children: ChildProcess[] = [];
  afterAll(async () => {
    for (const child of children) child.kill('SIGKILL');
    await folder[Symbol.asyncDispose]();
  });

  const file = async (name: string, bytes: Uint8Array | string): Promise<string> => {
    const path = join(folder.path, name);
    await writeFile(path, bytes);
    return path;
  };

  const start = (args: readonly string[]): ChildProcessWithoutNullStreams => {
    const child = spawn(process.execPath, [main, 'run', ...args], {
      env: { ...process.env, XDG_CACHE_HOME: folder.path },
    });
    children.push(child);
    return child;
  };

  const run = async (
    args: readonly string[],
    input = '',
  ): Promise<{ code: number | null; stdout: string; stderr: string }> => {
    const child = start(args);
    child.stdin.end(input);
    const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
    const [stdout, stderr, code] = await Promise.all([text(child.stdout), text(child.stderr), ended]);
    return { code, stdout, stderr };
  };

  it('gives a module its standard input', async () => {
    expect(await run([await guest('c', 'echo')], 'one\ntwo\n')).toEqual({
      code: 0,
      stdout: '> one\n> two\nend\n',
      stderr: '',
    });
  });

  it('exits with 134 for a trap, and names it', async () => {
    expect(await run([await file('trap.wasm', trapping)])).toEqual({
      code: 134,
      stdout: 'hello\n',
      stderr: 'loamlet: wasm trap: unreachable\n',
    });
  });

  it('exits with 137 for a module that needs more memory', async () => {
    const { code, stderr } = await run(['--memory', '4Mi', await guest('c', 'hungry')]);
    expect([code, stderr]).toEqual([137, 'loamlet: its memory could not grow past 4Mi (wasm trap: unreachable)\n']);
  });

  it.each([
    ['a file that is not there', () => '/nowhere.wasm', 'no such file'],
    ['a file that is no module', () => file('page.wasm', '<!doctype html>'), 'HTML'],
    ['a truncated module', () => file('cut.wasm', hello.subarray(0, hello.length - 3)), 'truncated'],
  ])('refuses %s with 1 and one line', async (_what, module, words) => {
    const { code, stdout, stderr } = await run([await module()]);
    expect([code, stdout]).toEqual([1, '']);
    expect(stderr).toMatch(/^error: [^\n]+\n$/);
    expect(stderr).toContain(words);
  });

  it('refuses an import that was not granted, by its name', async () => {
    const module = assemble({
      imports: [{ module: 'loamlet:host/sensors@0.1.0', name: 'open', params: [i32, i32, i32] }],
      functions: [{ export: '_start', body: [] }],
    });
    const { code, stderr } = await run([await file('sensor.wasm', module)]);
    expect(code).toBe(1);
    expect(stderr).toMatch(/^error: .*loamlet:host\/sensors@0\.1\.0 open.*--device.*\n$/);
  });

  it.each([
    [['--env', 'NOVALUE', 'x.wasm']],
    [['--memory', 'lots', 'x.wasm']],
    [['--publish', 'a/#/b', 'x.wasm']],
    [['--nope', 'x.wasm']],
    [[]],
  ])('calls %j misuse: 2', async (args) => {
    const { code, stderr } = await run(args);
    expect(code).toBe(2);
    expect(stderr).toMatch(/^error: /);
  });

  it('prints what a module publishes', async () => {
    const path = await file('publish.wasm', publishing);
    expect(await run(['--publish', 'garden/#', path])).toEqual({ code: 0, stdout: '', stderr: 'garden/bed 42\n' });
    expect((await run([path])).stderr).toMatch(/^loamlet\/[^/]+\/default\/publish\/garden\/bed 42\n$/);
  });

  it('publishes to a broker, which has every message before the command ends', async () => {
    await using broker = await Mosquitto.start();
    await using subscriber = await Subscriber.open(broker.url, 'garden/#');
    const path = await file('publish.wasm', publishing);
    expect(await run(['--publish', 'garden/#', '--mqtt', broker.url, path])).toEqual({
      code: 0,
      stdout: '',
      stderr: '',
    });
    expect(await subscriber.count(1)).toEqual(['42']);
  });

  it('refuses a broker that is not there with 1 and one line', async () => {
    const { code, stderr } = await run(['--mqtt', 'mqtt://127.0.0.1:1', await file('hello.wasm', hello)]);
    expect(code).toBe(1);
    expect(stderr).toMatch(/^error: [^\n]+127\.0\.0\.1:1[^\n]*\n$/);
  });

  it.each([
    ['sleeps', sleeper, 'SIGINT', 130],
    ['sleeps', sleeper, 'SIGTERM', 143],
    ['never waits', spinning, 'SIGINT', 130],
  ] as const)('ends a module that %s at a signal', async (how, module, signal, expected) => {
    const child = start([await file(`${how}.wasm`, module)]);
    const ended = new Promise((resolve) => child.once('close', resolve));
    const seen = await new Promise((resolve) => child.stdout.once('data', resolve));
    expect(String(seen)).toBe('hello\n');
    child.kill(signal);
    expect(await ended).toBe(expected);
  });

  it('ends with its reader', async () => {
    const child = start([await file('sleeper.wasm', sleeper)]);
    const ended = new Promise((resolve) => child.once('close', (code, killed) => resolve(killed ?? code)));
    await new Promise((resolve) => child.stdout.once('data', resolve));
    child.kill('SIGKILL'); // its own child must not stay behind
    expect(await ended).toBe('SIGKILL');
  });
});
