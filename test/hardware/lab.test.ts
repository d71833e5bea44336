import { execFile } from 'node:child_process';
import { cp, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { tempFolder } from '../support/temp-folder.ts';
import { checks } from './guest/checks.ts';

const root = new URL('../../', import.meta.url).pathname;
const run = promisify(execFile);

/**
 * One boot of the lab's arm64 machine runs all checks; each is a test here. What the lab prints goes into the message of
 * those that never ran.
 */
describe('the soil sensor under the shipped loamlet, in an arm64 machine', () => {
  const results = new Map<string, { error?: string }>();
  let folder: Awaited<ReturnType<typeof tempFolder>>;
  let said = '';

  beforeAll(async () => {
    folder = await tempFolder();
    // Makes the bundle if it is not there or not of these sources.
    await run(join(root, 'scripts/loamlet'), ['--version']);
    await run(join(root, 'examples/build'), [folder.path, 'soil-sensor'], { env: withOurNode() });
    // As installed: the bundle by itself, with addons of the machine's own architecture.
    await cp(join(root, 'dist'), join(folder.path, 'dist'), { recursive: true });
    const inGuest = ['/out/dist/loamlet.mjs', '/out/soil-sensor.wasm', '/out/results.json'];
    const command = ['run', 'node', 'test/hardware/guest/main.ts', ...inGuest];
    const env = { ...process.env, LAB_OUT: folder.path, LAB_TIMEOUT: '480' };
    const { stdout, stderr } = await run(join(root, 'scripts/lab'), command, { env }).catch(
      (error: { stdout: string; stderr: string }) => error,
    );
    said = `${stdout}\n${stderr}`;
    const text = await readFile(join(folder.path, 'results.json'), 'utf8').catch(() => '[]');
    for (const { name, ...result } of JSON.parse(text) as { name: string; error?: string }[]) results.set(name, result);
  }, 600_000);
  afterAll(() => folder[Symbol.asyncDispose]());

  test.each(checks)('$name', ({ name }) => {
    expect(results.get(name), `the lab never came to this check; it said:\n${said}`).toBeDefined();
    expect(results.get(name)?.error).toBeUndefined();
  });
});

function withOurNode(): NodeJS.ProcessEnv {
  return { ...process.env, PATH: `${join(process.execPath, '..')}:${process.env.PATH}` };
}
