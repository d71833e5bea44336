import { ImageError } from './errors.ts';
import { isDigest, type Digest } from './reference.ts';

/** What a manifest says of a blob or of another manifest. */
export interface Descriptor {
  readonly mediaType: string;
  readonly digest: Digest;
  readonly size: number;
}

export const ociManifest = 'application/vnd.oci.image.manifest.v1+json';
const ociIndex = 'application/vnd.oci.image.index.v1+json';
const dockerManifest = 'application/vnd.docker.distribution.manifest.v2+json';
const dockerList = 'application/vnd.docker.distribution.manifest.list.v2+json';

/** All that we ask a registry for: also what we can't run, to say what it is. */
export const acceptedManifests = [ociManifest, ociIndex, dockerManifest, dockerList].join(', ');

/** The layout of the CNCF's wasm working group, which `loamlet push` writes. */
export const wasmConfig = 'application/vnd.wasm.config.v0+json';
export const wasmLayer = 'application/wasm';

/** The layer types that hold a module: the CNCF's and Krustlet's (wasm-to-oci's). */
const moduleLayers = new Set([wasmLayer, 'application/vnd.wasm.content.layer.v1+wasm']);

export type Resolved =
  | { readonly type: 'module'; readonly layer: Descriptor }
  /** An index: the manifest to ask for next. */
  | { readonly type: 'manifest'; readonly manifest: Descriptor };

/**
 * Reads a manifest or an index and finds the module in it. `name` is for messages.
 * @throws ImageError ErrImageNotWasm, ErrImagePull for what is no manifest
 */
export function resolveManifest(body: Uint8Array, name: string): Resolved {
  const manifest = parse(body, name);
  if (Array.isArray(manifest.manifests)) return { type: 'manifest', manifest: chooseEntry(manifest.manifests, name) };
  const layers = Array.isArray(manifest.layers) ? manifest.layers : [];
  const layer = layers.find((candidate) => isObject(candidate) && moduleLayers.has(String(candidate.mediaType)));
  if (layer === undefined) throw notWasm(name, 'is an ordinary container image');
  return { type: 'module', layer: descriptor(layer, name) };
}

function chooseEntry(entries: readonly unknown[], name: string): Descriptor {
  const manifests = entries.filter(isObject);
  const wasm = manifests
    .map((entry) => ({ entry, rank: wasmRank(entry) }))
    .filter(({ rank }) => rank > 0)
    .sort((a, b) => b.rank - a.rank);
  const chosen = wasm[0]?.entry ?? (manifests.length === 1 ? manifests[0] : undefined);
  if (chosen !== undefined) return descriptor(chosen, name);
  const platforms = [...new Set(manifests.map(platformName))].filter((platform) => platform !== 'unknown/unknown');
  throw notWasm(name, `is an ordinary container image (${platforms.slice(0, 5).join(', ')})`);
}

/** How well the platform of an index's entry fits: a core module of preview 1 best. 0 is no wasm. */
function wasmRank(entry: Record<string, unknown>): number {
  const platform = isObject(entry.platform) ? entry.platform : {};
  if (platform.os === 'wasip1') return 3;
  if (platform.os === 'wasi') return 2;
  return platform.architecture === 'wasm' || platform.architecture === 'wasm32' ? 1 : 0;
}

function platformName(entry: Record<string, unknown>): string {
  const { os, architecture } = isObject(entry.platform) ? entry.platform : {};
  const known = (value: unknown): string => (typeof value === 'string' ? value.slice(0, 20) : 'unknown');
  return `${known(os)}/${known(architecture)}`;
}

function descriptor(value: Record<string, unknown>, name: string): Descriptor {
  const { mediaType, digest, size } = value;
  if (!isDigest(digest) || typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0) {
    throw new ImageError('ErrImagePull', `the manifest of ${name} has an entry without a sha256 digest and a size`, {
      remedy: 'push the module again, with loamlet push MODULE REF',
    });
  }
  return { mediaType: String(mediaType), digest, size };
}

export function notWasm(name: string, what: string): ImageError {
  return new ImageError('ErrImageNotWasm', `${name} ${what}, and this node runs only WebAssembly modules`, {
    remedy: 'give the pod an image made with loamlet push MODULE REF, or a node selector for ordinary nodes',
  });
}

function parse(body: Uint8Array, name: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(Buffer.from(body).toString());
    if (isObject(value)) return value;
  } catch {
    // Said below.
  }
  throw new ImageError('ErrImagePull', `what the registry has as ${name} is no manifest`, {
    remedy: 'check that the address is that of an OCI registry',
  });
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
