import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { parseDevice } from '../../devices/catalog.ts';
import { parseConfig } from '../../src/config/load.ts';

const readme = readFileSync(new URL('../../README.md', import.meta.url), 'utf8');

test('the README shows a config that the node accepts', () => {
  const [, text = ''] = /```yaml\n(apiVersion: loamlet\.dev\/v1alpha1\n[^`]*)```/.exec(readme) ?? [];
  const config = parseConfig(text, 'README.md', parseDevice);
  expect(config.devices.map(({ name, driver }) => [name, driver])).toEqual([['bed-3', 'ads1115']]);
  expect(config.policy).toHaveLength(1);
});

test('the README shows the example as it is: its Deployment, and what it opens and publishes', () => {
  const manifest = readFileSync(new URL('../../examples/soil-sensor/deployment.yaml', import.meta.url), 'utf8');
  const { spec } = parse(manifest) as {
    spec: { template: { spec: { runtimeClassName: string; containers: { resources: object }[] } } };
  };
  expect(spec.template.spec.runtimeClassName).toBe('loamlet');
  expect(readme).toContain('runtimeClassName: loamlet');
  expect(spec.template.spec.containers[0]?.resources).toEqual({ limits: { 'loamlet.dev/soil-moisture': 1 } });
  expect(readme).toContain('loamlet.dev/soil-moisture: 1');
});

test('every local link of the README leads somewhere', () => {
  const links = [...readme.matchAll(/\]\((?!https?:)([^)#]+)\)/g)].map(([, path = '']) => path);
  expect(links.length).toBeGreaterThan(2);
  for (const path of links)
    expect(() => readFileSync(new URL(`../../${path}`, import.meta.url)), path).not.toThrow(/ENOENT/);
});
