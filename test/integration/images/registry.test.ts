import { createHash } from 'node:crypto';
import { chmod, readFile, readdir, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { ModuleStore, type ModuleStoreOptions } from '../../../src/images/module-store.ts';
import { pullToFile } from '../../../src/images/pull-to-file.ts';
import { pushModule } from '../../../src/images/push.ts';
import { Registry, testCredentials, type RegistryOptions } from '../../support/registry.ts';
import { serverIdentity } from '../../support/certificates.ts';
import { tempFolder } from '../../support/temp-folder.ts';
import { TestLog } from '../../support/test-log.ts';
import { TokenGate } from '../../support/token-gate.ts';
import { tinyModule } from '../../support/wasm.ts';

const never = new AbortController().signal;
const ociManifest = 'application/vnd.oci.image.manifest.v1+json';
const ociIndex = 'application/vnd.oci.image.index.v1+json';

function sha256(content: Uint8Array): string {
  return `sha256:${createHash('sha256').update(content).digest('hex')}`;
}

async function world(registryOptions: RegistryOptions = {}, storeOptions: Partial<ModuleStoreOptions> = {}) {
  const registry = await Registry.start(registryOptions);
  const folder = await tempFolder();
  onTestFinished(async () => {
    await registry[Symbol.asyncDispose]();
    await folder[Symbol.asyncDispose]();
  });
  const log = new TestLog();
  const directory = join(folder.path, 'images');
  const open = () => ModuleStore.open({ directory, log: log.log, ...storeOptions });
  const module = async (text: string): Promise<string> => {
    const path = join(folder.path, `${text.slice(0, 20)}.wasm`);
    await writeFile(path, tinyModule(text));
    return path;
  };
  return { registry, folder: folder.path, directory, store: await open(), open, module, log };
}

/** An ordinary image, a Krustlet one and so on, as other tools push them. */
async function pushLayout(
  registry: Registry,
  tag: string,
  config: string,
  layers: readonly { type: string; content: Buffer }[],
): Promise<string> {
  const entry = async (mediaType: string, content: Buffer) => ({
    mediaType,
    digest: await registry.putBlob('soil', content),
    size: content.byteLength,
  });
  return registry.putManifest('soil', tag, ociManifest, {
    config: await entry(config, Buffer.from('{}')),
    layers: await Promise.all(layers.map(({ type, content }) => entry(type, content))),
  });
}

test('pushes a module and pulls it by tag and by digest', async () => {
  const { registry, store, open, module } = await world();
  const file = await module('first');
  const pushed = await pushModule(file, `${registry.host}/garden/soil:0.1`, {}, never);
  expect(pushed.digest).toBe(sha256(await readFile(file)));
  const byTag = await store.ensure(`${registry.host}/garden/soil:0.1`, 'IfNotPresent', never);
  expect(await readFile(byTag.path)).toEqual(await readFile(file));
  expect(byTag).toMatchObject({
    digest: pushed.digest,
    manifestDigest: pushed.manifestDigest,
    imageId: pushed.imageId,
    sizeBytes: (await stat(file)).size,
  });
  // What push prints is a reference.
  const byDigest = await (await open()).ensure(pushed.imageId, 'Always', never);
  expect(byDigest.path).toBe(byTag.path);
});

test('writes the layout of the CNCF, the same for the same module', async () => {
  const { registry, module } = await world();
  const file = await module('layout');
  const one = await pushModule(file, `${registry.host}/soil:a`, {}, never);
  const two = await pushModule(file, `${registry.host}/soil:b`, {}, never);
  expect(two.manifestDigest).toBe(one.manifestDigest);
  const manifest = JSON.parse(await readFile(registry.blobPath(one.manifestDigest), 'utf8')) as Record<string, unknown>;
  expect(manifest).toMatchObject({
    schemaVersion: 2,
    mediaType: ociManifest,
    config: { mediaType: 'application/vnd.wasm.config.v0+json' },
    layers: [{ mediaType: 'application/wasm', digest: one.digest, size: one.sizeBytes }],
  });
  const { digest } = manifest.config as { digest: string };
  expect(JSON.parse(await readFile(registry.blobPath(digest), 'utf8'))).toMatchObject({
    architecture: 'wasm',
    os: 'wasip1',
    layerDigests: [one.digest],
  });
});

test('speaks HTTPS with a registry whose authority it was given, and with no other', async () => {
  // Linux takes it for this machine; a loopback address would be spoken to over plain HTTP.
  const address = '0.0.0.0';
  const tls = await serverIdentity(address);
  const { registry, directory, module } = await world({ tls, address });
  const reference = `${address}:${registry.host.split(':').at(-1)}/soil:1`;
  const file = await module('over TLS');
  await expect(pushModule(file, reference, {}, never)).rejects.toMatchObject({
    code: 'ErrImagePush',
    remedy: expect.stringContaining('--ca-file') as string,
  });
  const pushed = await pushModule(file, reference, { ca: tls.ca }, never);
  const store = await ModuleStore.open({ directory, ca: tls.ca });
  expect((await store.ensure(reference, 'Always', never)).digest).toBe(pushed.digest);
  await expect(
    (await ModuleStore.open({ directory })).ensure(pushed.imageId.replace('soil@', 'other@'), 'Always', never),
  ).rejects.toMatchObject({ code: 'ErrImagePull', unreachable: true });
});

test('speaks plain HTTP with a registry elsewhere only when the operator says so', async () => {
  const { registry, directory, module } = await world({ address: '0.0.0.0' });
  const host = `0.0.0.0:${registry.host.split(':').at(-1)}`;
  const file = await module('plain');
  await expect(pushModule(file, `${host}/soil:1`, {}, never)).rejects.toMatchObject({
    code: 'ErrImagePush',
    remedy: expect.stringContaining('images.insecureRegistries') as string,
  });
  const pushed = await pushModule(file, `${host}/soil:1`, { insecureRegistries: [host] }, never);
  const store = await ModuleStore.open({ directory, insecureRegistries: [host] });
  expect((await store.ensure(`${host}/soil:1`, 'Always', never)).digest).toBe(pushed.digest);
});

test('reads the layout of Krustlet', async () => {
  const { registry, store } = await world();
  const content = tinyModule('krustlet');
  await pushLayout(registry, 'k', 'application/vnd.wasm.config.v1+json', [
    { type: 'application/vnd.wasm.content.layer.v1+wasm', content },
  ]);
  expect((await store.ensure(`${registry.host}/soil:k`, 'IfNotPresent', never)).digest).toBe(sha256(content));
});

test('chooses the wasm module of an index of several platforms', async () => {
  const { registry, store } = await world();
  const content = tinyModule('for wasi');
  const linux = await pushLayout(registry, 'linux', 'application/vnd.oci.image.config.v1+json', [
    { type: 'application/vnd.oci.image.layer.v1.tar+gzip', content: Buffer.from('tar') },
  ]);
  const wasm = await pushLayout(registry, 'wasm', 'application/vnd.wasm.config.v0+json', [
    { type: 'application/wasm', content },
  ]);
  const size = async (digest: string) => (await stat(registry.blobPath(digest))).size;
  const index = await registry.putManifest('soil', 'all', ociIndex, {
    manifests: [
      {
        mediaType: ociManifest,
        digest: linux,
        size: await size(linux),
        platform: { os: 'linux', architecture: 'arm64' },
      },
      {
        mediaType: ociManifest,
        digest: wasm,
        size: await size(wasm),
        platform: { os: 'wasip1', architecture: 'wasm' },
      },
    ],
  });
  const module = await store.ensure(`${registry.host}/soil:all`, 'IfNotPresent', never);
  expect(module.digest).toBe(sha256(content));
  expect(module.imageId).toBe(`${registry.host}/soil@${index}`);
});

test('says that an ordinary container image is one', async () => {
  const { registry, store } = await world();
  const linux = await pushLayout(registry, 'linux', 'application/vnd.oci.image.config.v1+json', [
    { type: 'application/vnd.oci.image.layer.v1.tar+gzip', content: Buffer.from('tar') },
  ]);
  await registry.putManifest('soil', 'multi', ociIndex, {
    manifests: ['amd64', 'arm64'].map((architecture) => ({
      mediaType: ociManifest,
      digest: linux,
      size: 10,
      platform: { os: 'linux', architecture },
    })),
  });
  await expect(store.ensure(`${registry.host}/soil:linux`, 'Always', never)).rejects.toMatchObject({
    code: 'ErrImageNotWasm',
    line: `${registry.host}/soil:linux is an ordinary container image, and this node runs only WebAssembly modules: give the pod an image made with loamlet push MODULE REF, or a node selector for ordinary nodes`,
  });
  await expect(store.ensure(`${registry.host}/soil:multi`, 'Always', never)).rejects.toMatchObject({
    code: 'ErrImageNotWasm',
    message: expect.stringContaining('(linux/amd64, linux/arm64)') as string,
  });
});

test('refuses a component, and what only claims to be wasm, and keeps no reference to them', async () => {
  const { registry, store } = await world();
  const component = Buffer.from([0, 0x61, 0x73, 0x6d, 0x0d, 0, 1, 0]);
  await pushLayout(registry, 'c', 'application/vnd.wasm.config.v0+json', [
    { type: 'application/wasm', content: component },
  ]);
  await pushLayout(registry, 't', 'application/vnd.wasm.config.v0+json', [
    { type: 'application/wasm', content: Buffer.from('#!/bin/sh') },
  ]);
  await expect(store.ensure(`${registry.host}/soil:c`, 'Always', never)).rejects.toMatchObject({
    code: 'ErrImageNotWasm',
    message: expect.stringContaining('component') as string,
  });
  await expect(store.ensure(`${registry.host}/soil:t`, 'Always', never)).rejects.toMatchObject({
    code: 'ErrImageNotWasm',
  });
  await expect(store.ensure(`${registry.host}/soil:t`, 'Never', never)).rejects.toMatchObject({
    code: 'ErrImageNeverPull',
  });
});

test.each([
  ['changed', (bytes: Buffer) => Buffer.concat([bytes.subarray(0, -1), Buffer.of((bytes.at(-1) ?? 0) ^ 1)])],
  ['cut short', (bytes: Buffer) => bytes.subarray(0, -1)],
  ['made longer', (bytes: Buffer) => Buffer.concat([bytes, Buffer.alloc(100_000)])],
])('refuses a module that was %s in the registry, and leaves nothing of it', async (_, tamper) => {
  const { registry, store, module, directory } = await world();
  const pushed = await pushModule(await module('tampered'), `${registry.host}/soil:1`, {}, never);
  const blob = registry.blobPath(pushed.digest);
  await writeFile(blob, tamper(await readFile(blob)));
  await expect(store.ensure(`${registry.host}/soil:1`, 'IfNotPresent', never)).rejects.toMatchObject({
    code: 'ErrImageDigest',
    message: expect.stringContaining(pushed.digest) as string,
  });
  expect(await readdir(join(directory, 'blobs/sha256'))).toEqual([]);
  expect(await readdir(join(directory, 'partial'))).toEqual([]);
  expect(await readdir(join(directory, 'references'))).toEqual([]);
});

test('refuses a manifest that is not the one its digest names', async () => {
  const { registry, store, module } = await world();
  const pushed = await pushModule(await module('manifest'), `${registry.host}/soil:1`, {}, never);
  const blob = registry.blobPath(pushed.manifestDigest);
  await writeFile(blob, `${await readFile(blob, 'utf8')} `);
  await expect(store.ensure(pushed.imageId, 'Always', never)).rejects.toMatchObject({
    code: expect.stringMatching(/ErrImageDigest|ErrImagePull/) as string,
  });
});

test('a name or tag that is not there is said so', async () => {
  const { registry, store } = await world();
  await expect(store.ensure(`${registry.host}/nothing:1`, 'IfNotPresent', never)).rejects.toMatchObject({
    code: 'ErrImagePull',
    message: expect.stringMatching(/nothing:1 is not in the registry \(HTTP 404, manifest unknown\)/) as string,
    remedy: expect.stringContaining('loamlet push') as string,
  });
});

test('an unreachable registry is said so; what was pulled before stands in for it', async () => {
  const { registry, store, open, module, log } = await world();
  const reference = `${registry.host}/soil:1`;
  const pushed = await pushModule(await module('offline'), reference, {}, never);
  await store.ensure(reference, 'Always', never);
  await registry.stop();
  const rebooted = await open();
  for (const policy of ['IfNotPresent', 'Never', 'Always'] as const) {
    expect((await rebooted.ensure(reference, policy, never)).digest).toBe(pushed.digest);
  }
  expect(log.atLeast(40).map((line) => line.msg)).toEqual(['registry away, stored module used']);
  await expect(rebooted.ensure(`${registry.host}/other:1`, 'IfNotPresent', never)).rejects.toMatchObject({
    code: 'ErrImagePull',
    message: expect.stringContaining('ECONNREFUSED') as string,
    unreachable: true,
  });
});

test('Always takes the new module behind a tag, IfNotPresent the one it has', async () => {
  const { registry, store, module } = await world();
  const reference = `${registry.host}/soil:latest`;
  const one = await pushModule(await module('one'), reference, {}, never);
  await store.ensure(reference, 'Always', never);
  const two = await pushModule(await module('two'), reference, {}, never);
  expect((await store.ensure(reference, 'IfNotPresent', never)).digest).toBe(one.digest);
  expect((await store.ensure(reference, 'Always', never)).digest).toBe(two.digest);
  // Nothing is downloaded when the tag has not moved.
  const before = registry.log.split('"http.request.method":"GET"').length;
  await store.ensure(reference, 'Always', never);
  expect(registry.log.split('"http.request.method":"GET"').length).toBe(before);
});

test('a module damaged on the node is pulled again', async () => {
  const { registry, store, module } = await world();
  const reference = `${registry.host}/soil:1`;
  await pushModule(await module('damaged'), reference, {}, never);
  const { path, sizeBytes } = await store.ensure(reference, 'IfNotPresent', never);
  await truncate(path, 3);
  expect((await stat((await store.ensure(reference, 'IfNotPresent', never)).path)).size).toBe(sizeBytes);
  await truncate(path, 3);
  await expect(store.ensure(reference, 'Never', never)).rejects.toMatchObject({ code: 'ErrImageNeverPull' });
});

test('a hundred pods that want one module cause one download', async () => {
  const { registry, store, module } = await world();
  const file = await module('shared'.repeat(100));
  const pushed = await pushModule(file, `${registry.host}/soil:1`, {}, never);
  await pushModule(file, `${registry.host}/soil:2`, {}, never);
  const pulls = Array.from({ length: 100 }, (_, i) =>
    store.ensure(`${registry.host}/soil:${1 + (i % 2)}`, 'IfNotPresent', never),
  );
  for (const { digest } of await Promise.all(pulls)) expect(digest).toBe(pushed.digest);
  const served = registry.log
    .split('\n')
    .filter(
      (line) =>
        line.includes('"http.request.method":"GET"') &&
        line.includes(`/blobs/${pushed.digest}`) &&
        line.includes('response completed'),
    );
  expect(served).toHaveLength(1);
});

test('one of several who wait for a pull may give up without ending it', async () => {
  const { registry, store, module } = await world();
  const reference = `${registry.host}/soil:1`;
  const pushed = await pushModule(await module('patient'), reference, {}, never);
  const abort = new AbortController();
  const impatient = store.ensure(reference, 'IfNotPresent', abort.signal);
  const patient = store.ensure(reference, 'IfNotPresent', never);
  abort.abort(new Error('gone'));
  await expect(impatient).rejects.toThrow('gone');
  expect((await patient).digest).toBe(pushed.digest);
});

test('logs in with the credentials of a docker config, and says when they are refused', async () => {
  const { registry, folder, module, directory } = await world({ basicAuth: true });
  const file = await module('private');
  const reference = `${registry.host}/soil:1`;
  const dockerConfig = join(folder, 'config.json');
  const login = (password: string) =>
    writeFile(
      dockerConfig,
      JSON.stringify({
        auths: {
          [`http://${registry.host}/v2/`]: {
            auth: Buffer.from(`${testCredentials.username}:${password}`).toString('base64'),
          },
        },
      }),
    );
  await expect(pushModule(file, reference, {}, never)).rejects.toMatchObject({
    code: 'ErrImagePush',
    message: expect.stringContaining('HTTP 401') as string,
  });
  await login('wrong');
  await expect(pushModule(file, reference, { dockerConfig }, never)).rejects.toMatchObject({
    code: 'ErrImagePush',
    remedy: expect.stringContaining('credentials') as string,
  });
  await login(testCredentials.password);
  const pushed = await pushModule(file, reference, { dockerConfig }, never);
  const store = await ModuleStore.open({ directory, dockerConfig });
  expect((await store.ensure(reference, 'Always', never)).digest).toBe(pushed.digest);
  await expect(
    (await ModuleStore.open({ directory })).ensure(`${registry.host}/soil:2`, 'Always', never),
  ).rejects.toMatchObject({ code: 'ErrImagePull' });
});

test('fetches a token where the registry sends it for one', async () => {
  const { registry, folder, module, directory } = await world();
  await using gate = await TokenGate.before(registry.url, testCredentials);
  const dockerConfig = join(folder, 'config.json');
  await writeFile(dockerConfig, JSON.stringify({ auths: { [gate.host]: testCredentials } }));
  const reference = `${gate.host}/garden/soil:1`;
  const file = await module('token');
  await expect(pushModule(file, reference, {}, never)).rejects.toMatchObject({
    code: 'ErrImagePush',
    message: expect.stringContaining('401') as string,
  });
  const pushed = await pushModule(file, reference, { dockerConfig }, never);
  const store = await ModuleStore.open({ directory, dockerConfig });
  expect((await store.ensure(reference, 'Always', never)).digest).toBe(pushed.digest);
  expect(gate.scopes).toEqual(
    expect.arrayContaining(['repository:garden/soil:pull,push', 'repository:garden/soil:pull']),
  );
});

test('takes no module larger than the node allows', async () => {
  const { registry, store, module } = await world({}, { maxModuleBytes: 100 });
  await pushModule(await module('x'.repeat(200)), `${registry.host}/soil:1`, {}, never);
  await expect(store.ensure(`${registry.host}/soil:1`, 'Always', never)).rejects.toMatchObject({
    code: 'ErrImagePull',
    remedy: expect.stringContaining('images.maxModuleBytes') as string,
  });
});

test('pull writes the module to a file and leaves nothing else', async () => {
  const { registry, folder, module } = await world();
  const file = await module('to-file');
  const { imageId } = await pushModule(file, `${registry.host}/soil:1`, {}, never);
  const output = join(folder, 'out.wasm');
  expect(await pullToFile(`${registry.host}/soil:1`, output, {}, never)).toEqual({ path: output, imageId });
  expect(await readFile(output)).toEqual(await readFile(file));
  await expect(
    pullToFile(`${registry.host}/soil:1`, join(folder, 'no/such/folder.wasm'), {}, never),
  ).rejects.toMatchObject({ code: 'OutputNotWritten' });
});

test('push refuses what is no module before it asks any registry', async () => {
  const { folder, registry, module } = await world();
  await registry.stop();
  const text = join(folder, 'text.wasm');
  await writeFile(text, 'not wasm at all');
  await expect(pushModule(text, `${registry.host}/soil:1`, {}, never)).rejects.toMatchObject({
    code: 'ErrImageNotWasm',
  });
  await expect(pushModule(join(folder, 'missing.wasm'), `${registry.host}/soil:1`, {}, never)).rejects.toMatchObject({
    code: 'ErrImagePush',
    message: expect.stringContaining('ENOENT') as string,
  });
  await expect(
    pushModule(await module('m'), `${registry.host}/soil@sha256:${'0'.repeat(64)}`, {}, never),
  ).rejects.toMatchObject({ code: 'InvalidImageName' });
});

test('a static pod may name a file; its content is kept by digest, and nobody else may', async () => {
  const { folder, store, module } = await world();
  const file = await module('local');
  const stored = await store.ensure(`file://${file}`, 'Always', never, { allowFiles: true });
  expect(stored.digest).toBe(sha256(await readFile(file)));
  await writeFile(file, tinyModule('newer'));
  const newer = await store.ensure(`file://${file}`, 'IfNotPresent', never, { allowFiles: true });
  expect(newer.digest).not.toBe(stored.digest);
  expect(sha256(await readFile(stored.path))).toBe(stored.digest);
  await expect(store.ensure(`file://${file}`, 'Always', never)).rejects.toMatchObject({ code: 'InvalidImageName' });
  await expect(
    store.ensure(`file://${folder}/missing.wasm`, 'Always', never, { allowFiles: true }),
  ).rejects.toMatchObject({ code: 'ErrImagePull' });
  await expect(store.ensure(`file://${folder}`, 'Always', never, { allowFiles: true })).rejects.toMatchObject({
    code: 'ErrImageNotWasm',
  });
  await expect(store.ensure('file:relative.wasm', 'Always', never, { allowFiles: true })).rejects.toMatchObject({
    code: expect.stringMatching(/InvalidImageName|ErrImagePull/) as string,
  });
  await chmod(file, 0o600);
});
