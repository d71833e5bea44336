import { expect, test } from 'vitest';
import { parseReference, speaksPlainHttp } from '../../../src/images/reference.ts';

const digest = `sha256:${'a'.repeat(64)}`;

test.each([
  ['soil', 'registry-1.docker.io/library/soil:latest'],
  ['garden/soil:1', 'registry-1.docker.io/garden/soil:1'],
  ['docker.io/soil', 'registry-1.docker.io/library/soil:latest'],
  ['localhost/soil', 'localhost/soil:latest'],
  ['registry.example:5000/a/b__c/d-e:0.1', 'registry.example:5000/a/b__c/d-e:0.1'],
  ['Registry.Example/soil', 'registry.example/soil:latest'],
  ['[::1]:5000/soil', '[::1]:5000/soil:latest'],
  [`ghcr.io/soil@${digest}`, `ghcr.io/soil@${digest}`],
  [`ghcr.io/soil:1@${digest}`, `ghcr.io/soil:1@${digest}`],
])('reads %s as Docker does', (text, full) => {
  expect(parseReference(text).text).toBe(full);
});

test('asks the registry for the digest where there is one', () => {
  expect(parseReference(`ghcr.io/soil:1@${digest}`)).toMatchObject({ target: digest, tag: '1', digest });
  expect(parseReference('ghcr.io/soil:1')).toMatchObject({ target: '1', digest: undefined });
});

test.each([
  '',
  ':tag',
  'Soil',
  'soil:',
  'soil:ta g',
  'a//b',
  'registry.example/../etc',
  'registry.example/soil?x=1',
  'registry.example:99999999/soil',
  'user@registry.example/soil',
  'http://registry.example/soil',
  'soil@sha256:abc',
  'soil@md5:abc',
  `registry.example/${'a'.repeat(300)}`,
  'a'.repeat(600),
  'registry.example/soil\n',
])('refuses %j and says how to write it', (text) => {
  expect(() => parseReference(text)).toThrow(
    expect.objectContaining({
      code: 'InvalidImageName',
      remedy: expect.stringContaining('name:tag') as string,
    }) as Error,
  );
});

test('speaks plain HTTP on this machine and where the operator says so, nowhere else', () => {
  for (const host of ['localhost', 'localhost:5000', '127.0.0.1:5000', '127.8.9.1', '[::1]:5000'])
    expect(speaksPlainHttp(host, [])).toBe(true);
  for (const host of ['localhost.example', '10.0.0.1:5000', '127.0.0.1.example', 'registry:5000'])
    expect(speaksPlainHttp(host, [])).toBe(false);
  expect(speaksPlainHttp('registry:5000', ['registry:5000'])).toBe(true);
  expect(speaksPlainHttp('registry:5000', ['registry'])).toBe(true);
  expect(speaksPlainHttp('registry:5000', ['registry:5001'])).toBe(false);
});
