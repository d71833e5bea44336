import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { errorLine, systemCode } from '../base/errors.ts';
import type { Logger } from '../observe/logger.ts';
import { Coalesce } from './coalesce.ts';
import { ContentMismatch, ContentStore, digestOfFile, readHeader } from './content-store.ts';
import { ImageError } from './errors.ts';
import { notWasm, resolveManifest, type Descriptor } from './manifest.ts';
import { parseReference, type Digest, type ImageReference } from './reference.ts';
import { ReferenceIndex } from './reference-index.ts';
import { digestError, Repository, type RegistryOptions } from './registry.ts';
import { Slots } from './slots.ts';
import { notModule, wasmKind } from './wasm-header.ts';

export type PullPolicy = 'Always' | 'IfNotPresent' | 'Never';

/** A module on this node's disk, its bytes checked against its digest. */
export interface StoredModule {
  /** In full, with registry and tag. */
  readonly reference: string;
  /** Of the module's bytes. */
  readonly digest: Digest;
  /** Of what the reference names in the registry; for a file, that of the module. */
  readonly manifestDigest: Digest;
  readonly path: string;
  readonly sizeBytes: number;
  /** For a pod's `imageID`: `registry/repository@sha256:...`. */
  readonly imageId: string;
}

export interface ModuleStoreOptions extends RegistryOptions {
  /** Made when missing. */
  readonly directory: string;
  /** @default 256 MiB */
  readonly maxModuleBytes?: number;
  /** Modules downloaded at the same time. @default 4 */
  readonly maxParallelPulls?: number;
  /** A pull that takes longer is given up, in milliseconds. @default 15 minutes */
  readonly pullTimeoutMs?: number;
  readonly log?: Pick<Logger, 'info' | 'warn'>;
}

export interface EnsureOptions {
  /** Take `file:///path/module.wasm`: for static pods, whose author can read this machine's files anyway. @default false */
  readonly allowFiles?: boolean;
}

const mebibyte = 2 ** 20;

/**
 * The modules on this node: pulls what is missing, checks every byte, keeps it by digest. Who asks for the same thing at
 * the same time waits for one pull. Retrying is the caller's.
 */
export class ModuleStore {
  readonly #content: ContentStore;
  readonly #index: ReferenceIndex;
  readonly #options: ModuleStoreOptions;
  readonly #ensuring = new Coalesce<StoredModule>();
  readonly #downloading = new Coalesce<void>();
  readonly #slots: Slots;

  private constructor(options: ModuleStoreOptions, content: ContentStore, index: ReferenceIndex) {
    this.#options = options;
    this.#content = content;
    this.#index = index;
    this.#slots = new Slots(options.maxParallelPulls ?? 4);
  }

  static async open(options: ModuleStoreOptions): Promise<ModuleStore> {
    return new ModuleStore(
      options,
      await ContentStore.open(options.directory),
      await ReferenceIndex.open(options.directory),
    );
  }

  /**
   * The module that a reference names, pulled if the policy says so. With `Always` a stored copy stands in while the
   * registry gives no answer: a node that boots without its network starts what it ran before.
   * @throws ImageError
   */
  async ensure(
    reference: string,
    policy: PullPolicy,
    signal: AbortSignal,
    options: EnsureOptions = {},
  ): Promise<StoredModule> {
    if (/^file:/i.test(reference)) {
      if (options.allowFiles !== true) {
        throw new ImageError(
          'InvalidImageName',
          `image ${JSON.stringify(reference.slice(0, 200))} is a file of the node, which only static pods may use`,
          {
            remedy: 'push it to a registry with loamlet push MODULE REF',
          },
        );
      }
      return this.#ensuring.run(reference, signal, (shared) => this.#fromFile(reference, shared));
    }
    const parsed = parseReference(reference);
    return this.#ensuring.run(`${policy} ${parsed.text}`, signal, (shared) => this.#ensure(parsed, policy, shared));
  }

  async #ensure(reference: ImageReference, policy: PullPolicy, signal: AbortSignal): Promise<StoredModule> {
    const stored = await this.#stored(reference);
    // What a digest names never changes, so there is nothing to ask the registry for.
    if (stored !== undefined && (policy !== 'Always' || reference.digest !== undefined)) return stored;
    if (policy === 'Never') {
      throw new ImageError(
        'ErrImageNeverPull',
        `${reference.text} is not on this node, and its imagePullPolicy is Never`,
        {
          remedy: 'set imagePullPolicy: IfNotPresent',
        },
      );
    }
    const timeout = AbortSignal.timeout(this.#options.pullTimeoutMs ?? 15 * 60_000);
    try {
      return await this.#pull(reference, stored, AbortSignal.any([signal, timeout]));
    } catch (error) {
      signal.throwIfAborted();
      if (stored !== undefined && error instanceof ImageError && error.unreachable) {
        this.#options.log?.warn(
          { image: reference.text, error: errorLine(error) },
          'registry away, stored module used',
        );
        return stored;
      }
      if (!timeout.aborted) throw error;
      throw new ImageError('ErrImagePull', `pulling ${reference.text} took too long`, {
        remedy: `look at the network to ${reference.registry}`,
        unreachable: true,
      });
    }
  }

  async #stored(reference: ImageReference): Promise<StoredModule | undefined> {
    const entry = await this.#index.get(reference.text);
    if (entry === undefined) return undefined;
    const sizeBytes = await this.#content.verified(entry.digest);
    return sizeBytes === undefined ? undefined : this.#module(reference, entry.digest, entry.manifestDigest, sizeBytes);
  }

  async #pull(reference: ImageReference, stored: StoredModule | undefined, signal: AbortSignal): Promise<StoredModule> {
    using repository = new Repository(reference, 'pull', this.#options, signal);
    if (stored !== undefined && (await repository.head(reference.target)) === stored.manifestDigest) return stored;
    const named = await repository.manifest(reference.target);
    const layer = await this.#layer(repository, named.body);
    await this.#download(repository, layer, signal);
    await this.#index.set(
      { reference: reference.text, digest: layer.digest, manifestDigest: named.digest },
      this.#content.partialPath(),
    );
    this.#options.log?.info({ image: reference.text, digest: layer.digest, bytes: layer.size }, 'module pulled');
    return this.#module(reference, layer.digest, named.digest, layer.size);
  }

  async #layer(repository: Repository, body: Uint8Array): Promise<Descriptor> {
    const name = repository.reference.text;
    const first = resolveManifest(body, name);
    if (first.type === 'module') return first.layer;
    const second = resolveManifest((await repository.manifest(first.manifest.digest)).body, name);
    if (second.type === 'module') return second.layer;
    throw notWasm(name, 'is an index of indexes');
  }

  async #download(repository: Repository, layer: Descriptor, signal: AbortSignal): Promise<void> {
    const { text } = repository.reference;
    const most = this.#options.maxModuleBytes ?? 256 * mebibyte;
    if (layer.size > most) {
      throw new ImageError(
        'ErrImagePull',
        `${text} has a module of ${mib(layer.size)}, and this node takes at most ${mib(most)}`,
        {
          remedy: 'make the module smaller, or raise images.maxModuleBytes',
        },
      );
    }
    // The download ends with the last pull that waits for it, not with the one that began it: it has a repository of its own.
    await this.#downloading.run(layer.digest, signal, async (shared) => {
      if ((await this.#content.verified(layer.digest)) === undefined) {
        await this.#slots.use(shared, () => this.#fetch(repository.reference, layer, shared));
      }
    });
    const kind = wasmKind(await readHeader(this.#content.path(layer.digest)));
    if (kind !== 'module') throw notWasm(text, notModule(kind));
  }

  async #fetch(reference: ImageReference, layer: Descriptor, signal: AbortSignal): Promise<void> {
    using repository = new Repository(reference, 'pull', this.#options, signal);
    try {
      await this.#content.put(layer.digest, layer.size, repository.blob(layer.digest));
    } catch (error) {
      if (error instanceof ContentMismatch)
        throw digestError(`the module of ${reference.text}`, layer.digest, error.found);
      throw error;
    }
  }

  async #fromFile(reference: string, signal: AbortSignal): Promise<StoredModule> {
    const path = filePath(reference);
    try {
      const info = await stat(path);
      const most = this.#options.maxModuleBytes ?? 256 * mebibyte;
      if (!info.isFile() || info.size > most)
        throw notWasm(path, info.isFile() ? `is larger than ${mib(most)}` : 'is no file');
      const kind = wasmKind(await readHeader(path));
      if (kind !== 'module') throw notWasm(path, notModule(kind));
      const digest = await digestOfFile(path);
      if ((await this.#content.verified(digest)) === undefined) {
        await this.#content.put(digest, info.size, fileBytes(path, signal));
      }
      return {
        reference,
        digest,
        manifestDigest: digest,
        path: this.#content.path(digest),
        sizeBytes: info.size,
        imageId: `file://${path}@${digest}`,
      };
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof ImageError) throw error;
      const why =
        error instanceof ContentMismatch ? 'it changed while it was read' : (systemCode(error) ?? errorLine(error));
      throw new ImageError('ErrImagePull', `module file ${path} can't be read (${why})`, {
        remedy: 'check the path and who may read it',
        cause: error,
      });
    }
  }

  #module(reference: ImageReference, digest: Digest, manifestDigest: Digest, sizeBytes: number): StoredModule {
    return {
      reference: reference.text,
      digest,
      manifestDigest,
      path: this.#content.path(digest),
      sizeBytes,
      imageId: `${reference.registry}/${reference.repository}@${manifestDigest}`,
    };
  }
}

/** Opened when it is first read: the error of a stream that nobody reads yet would end the process. */
async function* fileBytes(path: string, signal: AbortSignal): AsyncGenerator<Buffer> {
  for await (const chunk of createReadStream(path) as AsyncIterable<Buffer>) {
    signal.throwIfAborted();
    yield chunk;
  }
}

function filePath(reference: string): string {
  try {
    return fileURLToPath(reference);
  } catch {
    throw new ImageError('InvalidImageName', `image ${JSON.stringify(reference.slice(0, 200))} is no file URL`, {
      remedy: 'write it as file:///folder/module.wasm',
    });
  }
}

function mib(bytes: number): string {
  return `${Math.ceil(bytes / mebibyte)} MiB`;
}
