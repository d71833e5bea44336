import { createHash } from 'node:crypto';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { writeDurably } from './durable-file.ts';
import { isDigest, type Digest } from './reference.ts';

/** What a reference led to when it was last pulled. */
export interface IndexEntry {
  readonly reference: string;
  /** Of the module. */
  readonly digest: Digest;
  /** Of the manifest or index that the reference names. */
  readonly manifestDigest: Digest;
}

/** One small file a reference, named by its hash, so that references need no escaping. */
export class ReferenceIndex {
  readonly #folder: string;

  private constructor(folder: string) {
    this.#folder = folder;
  }

  static async open(directory: string): Promise<ReferenceIndex> {
    const folder = join(directory, 'references');
    await mkdir(folder, { recursive: true, mode: 0o755 });
    return new ReferenceIndex(folder);
  }

  /** Undefined for a reference that was never pulled, and for a file that is damaged. */
  async get(reference: string): Promise<IndexEntry | undefined> {
    try {
      const entry = JSON.parse(await readFile(this.#path(reference), 'utf8')) as Partial<IndexEntry>;
      const { digest, manifestDigest } = entry;
      if (entry.reference !== reference || !isDigest(digest) || !isDigest(manifestDigest)) return undefined;
      return { reference, digest, manifestDigest };
    } catch {
      return undefined;
    }
  }

  async set(entry: IndexEntry, partial: string): Promise<void> {
    await writeDurably(this.#path(entry.reference), partial, [Buffer.from(`${JSON.stringify(entry)}\n`)]);
  }

  #path(reference: string): string {
    return join(this.#folder, `${createHash('sha256').update(reference).digest('hex')}.json`);
  }
}
