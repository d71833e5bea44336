import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { parseChallenge } from '../../../src/images/authorizer.ts';
import { credentialsFor, readCredentials } from '../../../src/images/credentials.ts';
import { tempFolder } from '../../support/temp-folder.ts';

const auth = Buffer.from('gardener:com:post').toString('base64');
const expected = { username: 'gardener', password: 'com:post' };

test.each([
  ['registry.example:5000', { 'registry.example:5000': { auth } }],
  ['registry.example:5000', { 'https://registry.example:5000/v2/': { auth } }],
  ['registry.example', { 'Registry.Example': expected }],
  ['registry-1.docker.io', { 'https://index.docker.io/v1/': { auth } }],
])('finds the credentials of %s under %j', (registry, auths) => {
  expect(credentialsFor({ auths }, registry)).toEqual(expected);
});

test.each([
  null,
  1,
  {},
  { auths: null },
  { auths: { 'r.example': null } },
  { auths: { 'r.example': { auth: 'bm9jb2xvbg==' } } },
  { auths: { 'other.example': { auth } } },
])('has none in %j', (config) => {
  expect(credentialsFor(config, 'r.example')).toBeUndefined();
});

test('does not show the file when it is no JSON', async () => {
  await using folder = await tempFolder();
  const file = join(folder.path, 'config.json');
  await writeFile(file, '{"auths": {"r": secret-word');
  const error = (await readCredentials(file, 'r').catch((thrown: unknown) => thrown)) as Error;
  expect(error).toMatchObject({ code: 'ErrImagePull' });
  expect(error.message).toContain(file);
  expect(error.message).not.toContain('secret');
});

test('understands how registries ask for credentials', () => {
  expect(parseChallenge('Basic realm="x"')).toEqual({ scheme: 'basic' });
  expect(
    parseChallenge('Bearer realm="https://auth.example/token",service="r.example",scope="repository:a,b/c:pull"'),
  ).toEqual({
    scheme: 'bearer',
    realm: 'https://auth.example/token',
    service: 'r.example',
    scope: 'repository:a,b/c:pull',
  });
  expect(parseChallenge('bearer realm=https://auth.example/token')).toMatchObject({
    realm: 'https://auth.example/token',
  });
  for (const unknown of [undefined, '', 'Digest realm="x"', 'Bearer service="x"'])
    expect(parseChallenge(unknown)).toBeUndefined();
});
