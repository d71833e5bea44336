import { createHash, randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, open, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { systemCode } from '../base/errors.ts';
import { writeDurably } from './durable-file.ts';
import type { Digest } from './reference.ts';
import { wasmHeaderBytes } from './wasm-header.ts';

/** Bytes that turned out not to be those of the digest, or not as many as were promised. */
export class ContentMismatch extends Error {
  readonly found: string;

  constructor(found: string) {
    super(`content is ${found}`);
    this.found = found;
  }
}

/** Files by the digest of what is in them: `blobs/sha256/<hex>`, as in an OCI image layout. */
export class ContentStore {
  readonly #blobs: string;
  readonly #partial: string;
  /** What this process has hashed, by the file's identity: hashed again only when the file was touched. */
  readonly #verified = new Map<Digest, string>();

  private constructor(directory: string) {
    this.#blobs = join(directory, 'blobs', 'sha256');
    this.#partial = join(directory, 'partial');
  }

  /** Makes the folders; removes what an interrupted download left behind. */
  static async open(directory: string): Promise<ContentStore> {
    const store = new ContentStore(directory);
    await rm(store.#partial, { recursive: true, force: true });
    await mkdir(store.#blobs, { recursive: true, mode: 0o755 });
    await mkdir(store.#partial, { mode: 0o700 });
    return store;
  }

  path(digest: Digest): string {
    return join(this.#blobs, digest.slice('sha256:'.length));
  }

  /** Where a file is written before it is whole. */
  partialPath(): string {
    return join(this.#partial, randomUUID());
  }

  /**
   * The size of a stored file whose bytes are those of its digest; undefined when it is not here. A file that was
   * damaged on the disk is removed and not here either.
   */
  async verified(digest: Digest): Promise<number | undefined> {
    const path = this.path(digest);
    try {
      const { ino, size, mtimeNs, ctimeNs } = await stat(path, { bigint: true });
      const identity = `${ino} ${size} ${mtimeNs} ${ctimeNs}`;
      if (this.#verified.get(digest) !== identity) {
        if ((await digestOfFile(path)) !== digest) {
          await rm(path, { force: true });
          return undefined;
        }
        this.#verified.set(digest, identity);
      }
      return Number(size);
    } catch (error) {
      if (systemCode(error) === 'ENOENT') return undefined;
      throw error;
    }
  }

  /**
   * Stores bytes under the digest they are promised to have, if they have it and are `size` many; never more than that
   * is written. @throws ContentMismatch
   */
  async put(digest: Digest, size: number, content: AsyncIterable<Uint8Array>): Promise<void> {
    await writeDurably(this.path(digest), this.partialPath(), checked(digest, size, content));
  }
}

async function* checked(digest: Digest, size: number, content: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const hash = createHash('sha256');
  let bytes = 0;
  for await (const chunk of content) {
    bytes += chunk.byteLength;
    if (bytes > size) throw new ContentMismatch(`longer than ${size} bytes`);
    hash.update(chunk);
    yield chunk;
  }
  if (bytes < size) throw new ContentMismatch(`only ${bytes} of ${size} bytes`);
  const found = `sha256:${hash.digest('hex')}`;
  if (found !== digest) throw new ContentMismatch(found);
}

export async function digestOfFile(path: string): Promise<Digest> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path) as AsyncIterable<Buffer>) hash.update(chunk);
  return `sha256:${hash.digest('hex')}`;
}

/** The first bytes of a file, to see what it is. */
export async function readHeader(path: string): Promise<Uint8Array> {
  await using file = await open(path);
  const header = Buffer.alloc(wasmHeaderBytes);
  const { bytesRead } = await file.read(header, 0, wasmHeaderBytes, 0);
  return header.subarray(0, bytesRead);
}
