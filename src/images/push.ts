import { createHash } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { errorLine, systemCode } from '../base/errors.ts';
import { ImageError } from './errors.ts';
import { ociManifest, wasmConfig, wasmLayer, type Descriptor } from './manifest.ts';
import { parseReference, type Digest } from './reference.ts';
import { Repository, type RegistryOptions } from './registry.ts';
import { notModule, wasmKind } from './wasm-header.ts';

export interface Pushed {
  /** `registry/repository@sha256:...`: names these bytes for ever. */
  readonly imageId: string;
  readonly manifestDigest: Digest;
  readonly digest: Digest;
  readonly sizeBytes: number;
}

const maxPushBytes = 256 * 2 ** 20;

/**
 * Pushes a module in the layout of the CNCF's wasm working group. The same module gives the same digests, whenever and
 * wherever it is pushed. @throws ImageError
 */
export async function pushModule(
  file: string,
  reference: string,
  options: RegistryOptions,
  signal: AbortSignal,
): Promise<Pushed> {
  const target = parseReference(reference);
  if (target.digest !== undefined) {
    throw new ImageError('InvalidImageName', `${target.text} names a digest, and a push makes its own`, {
      remedy: 'push to a tag: registry/name:tag',
    });
  }
  const module = await readModule(file);
  const layer = descriptor(wasmLayer, module);
  // `created` is required, but the time of a push is no property of the module.
  const config = Buffer.from(
    JSON.stringify({
      created: '1970-01-01T00:00:00Z',
      architecture: 'wasm',
      os: 'wasip1',
      layerDigests: [layer.digest],
    }),
  );
  const manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: ociManifest,
      config: descriptor(wasmConfig, config),
      layers: [layer],
    }),
  );
  using repository = new Repository(target, 'push', options, signal);
  await repository.putBlob(layer, module);
  await repository.putBlob(descriptor(wasmConfig, config), config);
  const manifestDigest = await repository.putManifest(manifest, target.target);
  const imageId = `${target.registry}/${target.repository}@${manifestDigest}`;
  return { imageId, manifestDigest, digest: layer.digest, sizeBytes: module.byteLength };
}

async function readModule(file: string): Promise<Buffer> {
  let module: Buffer;
  try {
    if ((await stat(file)).size > maxPushBytes) throw new Error(`it is larger than ${maxPushBytes >> 20} MiB`);
    module = await readFile(file);
  } catch (error) {
    throw new ImageError('ErrImagePush', `module ${file} can't be read (${systemCode(error) ?? errorLine(error)})`, {
      remedy: 'check the path',
    });
  }
  const kind = wasmKind(module);
  if (kind !== 'module') {
    throw new ImageError('ErrImageNotWasm', `${file} ${notModule(kind)}`, {
      remedy: 'give the .wasm file that your compiler made',
    });
  }
  return module;
}

function descriptor(mediaType: string, content: Buffer): Descriptor {
  return {
    mediaType,
    digest: `sha256:${createHash('sha256').update(content).digest('hex')}`,
    size: content.byteLength,
  };
}
