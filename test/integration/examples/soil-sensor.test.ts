import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { runScripted, type Script } from '../../support/scripted-host.ts';

const examples = new URL('../../../examples/', import.meta.url).pathname;
const folder = mkdtempSync(join(tmpdir(), 'loamlet-examples-'));

beforeAll(() => {
  execFileSync(join(examples, 'build'), [folder], { stdio: 'pipe' });
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const wet = { value: 41.4632, unit: '%', takenAt: 1_795_000_000_123_456_789n, quality: 0 };

describe.each(['soil-sensor', 'soil-sensor-c'])('%s', (example) => {
  const run = (script: Script) =>
    runScripted(Uint8Array.from(readFileSync(join(folder, `${example}.wasm`))), {
      ...script,
      env: { INTERVAL_MS: '1', COUNT: '3', ...script.env },
    });

  test('prints and publishes each reading, and ends after COUNT of them', () => {
    const { exitCode, stdout, stderr, published } = run({ read: () => wet });
    expect({ exitCode, stdout, stderr }).toEqual({ exitCode: 0, stdout: 'soil-moisture 41.5 %\n'.repeat(3), stderr: '' });
    expect(published).toEqual(Array(3).fill({ topic: 'soil-moisture', sensor: 'soil-moisture', ...wet }));
  });

  test('says what is wrong with a reading that is not good', () => {
    expect(run({ read: (n) => ({ ...wet, quality: n }) }).stdout).toBe(
      'soil-moisture 41.5 %\nsoil-moisture 41.5 % (uncertain)\nsoil-moisture 41.5 % (stale)\n',
    );
  });

  test('goes on after a read and a publish that failed, with their reasons on stderr', () => {
    const { exitCode, stdout, stderr } = run({
      env: { COUNT: '6' },
      read: (n) => (n === 1 ? { error: 2, text: 'no answer at address 0x48' } : wet),
      publishError: (n) => [undefined, { error: 4 }, { error: 2, text: 'not in the grant' }, { error: 0 }][n],
    });
    expect(exitCode).toBe(0);
    expect(stdout).toBe('soil-moisture 41.5 %\n'.repeat(5));
    expect(stderr.split('\n')).toEqual([
      "soil-moisture can't be read: unavailable: no answer at address 0x48",
      "soil-moisture can't be published: full",
      "soil-moisture can't be published: permission-denied: not in the grant",
      "soil-moisture can't be published: timeout",
      '',
    ]);
  });

  test('ends with exit code 1 and the reason when it does not get its sensor', () => {
    const { exitCode, stdout, stderr } = run({ openError: 1, read: () => wet });
    expect({ exitCode, stdout, stderr }).toEqual({ exitCode: 1, stdout: '', stderr: "soil-moisture can't be opened: not-permitted\n" });
  });

  test('ends when the pod is being stopped', () => {
    const { exitCode, reads } = run({ env: { COUNT: '1000' }, read: () => wet, stopping: (n) => n >= 5 });
    expect({ exitCode, reads }).toEqual({ exitCode: 0, reads: 5 });
  });

  test('gives back what the host returned: its memory does not grow', () => {
    const text = 'a long reason '.repeat(8);
    const read: Script['read'] = (n) => (n % 3 === 0 ? { error: 3, text } : wet);
    const few = run({ env: { COUNT: '10', INTERVAL_MS: '0' }, read });
    expect(run({ env: { COUNT: '20000', INTERVAL_MS: '0' }, read }).memoryBytes).toBe(few.memoryBytes);
  });
});

test('the manifests ask for the sensor and keep the pod on its node', () => {
  const manifest = (name: string) => parse(readFileSync(join(examples, 'soil-sensor', name), 'utf8')) as Record<string, never>;
  const limits = { 'loamlet.dev/soil-moisture': 1 };
  expect(manifest('pod.yaml')).toMatchObject({ kind: 'Pod', spec: { containers: [{ resources: { limits } }] } });
  expect(manifest('deployment.yaml')).toMatchObject({
    kind: 'Deployment',
    spec: {
      selector: { matchLabels: { 'app.kubernetes.io/name': 'soil-sensor' } },
      template: {
        metadata: { labels: { 'app.kubernetes.io/name': 'soil-sensor' } },
        spec: {
          runtimeClassName: 'loamlet',
          containers: [{ resources: { limits } }],
          tolerations: [
            { key: 'node.kubernetes.io/unreachable', operator: 'Exists', effect: 'NoExecute' },
            { key: 'node.kubernetes.io/not-ready', operator: 'Exists', effect: 'NoExecute' },
          ],
        },
      },
    },
  });
});
