import { expect, test } from 'vitest';
import { resolveManifest } from '../../../src/images/manifest.ts';

const digest = (letter: string) => `sha256:${letter.repeat(64)}`;
const entry = (letter: string, platform?: object) => ({
  mediaType: 'm',
  digest: digest(letter),
  size: 1,
  ...(platform === undefined ? {} : { platform }),
});

function resolve(manifest: unknown) {
  return resolveManifest(Buffer.from(typeof manifest === 'string' ? manifest : JSON.stringify(manifest)), 'r/soil:1');
}

test('finds the module among other layers', () => {
  const layers = [entry('a'), { ...entry('b'), mediaType: 'application/wasm' }];
  expect(resolve({ layers })).toEqual({
    type: 'module',
    layer: { mediaType: 'application/wasm', digest: digest('b'), size: 1 },
  });
});

test('prefers a core module of preview 1 to a component', () => {
  const manifests = [
    entry('a', { os: 'linux', architecture: 'arm64' }),
    entry('b', { os: 'wasip2', architecture: 'wasm' }),
    entry('c', { os: 'wasip1', architecture: 'wasm' }),
  ];
  expect(resolve({ manifests })).toMatchObject({ type: 'manifest', manifest: { digest: digest('c') } });
});

test('takes the only entry of an index that names no platform', () => {
  expect(resolve({ manifests: [entry('a')] })).toMatchObject({ manifest: { digest: digest('a') } });
});

test('leaves attestations out of what it calls an ordinary image', () => {
  const manifests = [
    entry('a', { os: 'linux', architecture: 'amd64' }),
    entry('b', { os: 'unknown', architecture: 'unknown' }),
  ];
  expect(() => resolve({ manifests })).toThrow('r/soil:1 is an ordinary container image (linux/amd64), and');
});

test.each([
  ['no JSON', '<html>'],
  ['no object', '[]'],
  ['null', 'null'],
  ['a layer without digest', { layers: [{ mediaType: 'application/wasm', size: 1 }] }],
  [
    'a layer with a path as digest',
    { layers: [{ mediaType: 'application/wasm', size: 1, digest: 'sha256:../../etc/passwd' }] },
  ],
  ['a layer of negative size', { layers: [{ mediaType: 'application/wasm', size: -1, digest: digest('a') }] }],
  ['a layer of endless size', '{"layers":[{"mediaType":"application/wasm","size":1e999,"digest":"sha256:aa"}]}'],
  ['an index whose entry has no digest', { manifests: [{}] }],
])('refuses %s', (_, manifest) => {
  expect(() => resolve(manifest)).toThrow(expect.objectContaining({ code: 'ErrImagePull' }) as Error);
});

test.each([{}, { layers: {} }, { layers: [null, 'x'] }, { manifests: [] }, { manifests: [null] }])(
  '%j is no wasm',
  (manifest) => {
    expect(() => resolve(manifest)).toThrow(expect.objectContaining({ code: 'ErrImageNotWasm' }) as Error);
  },
);
