import { watch, type FSWatcher } from 'node:fs';
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { parseAllDocuments } from 'yaml';
import { errorLine } from '../base/errors.ts';
import type { Logger } from '../observe/logger.ts';

const maxManifestBytes = 1 << 20;
const maxManifests = 10_000;
/** Editors and `kubectl` write a file in several steps. */
const settleMs = 100;

/** One document of a manifest file. */
export interface StaticManifest {
  readonly file: string;
  readonly manifest: unknown;
}

/**
 * The folder of static pods, as in a kubelet: each `.yaml`, `.yml` or `.json` file holds pod manifests. The whole set is
 * given at the start and after each change of the folder. A file that can't be read any more keeps what it last held, so
 * that a slip of the editor stops nothing; removing the file removes its pods.
 */
export class StaticSource implements Disposable {
  readonly #directory: string;
  readonly #log: Logger;
  readonly #onChange: (manifests: readonly StaticManifest[]) => void;
  /** By file name. */
  readonly #last = new Map<string, readonly unknown[]>();
  #watcher: FSWatcher | undefined;
  #timer: NodeJS.Timeout | undefined;
  #scanning: Promise<void> = Promise.resolve();
  #closed = false;

  private constructor(directory: string, onChange: (manifests: readonly StaticManifest[]) => void, log: Logger) {
    this.#directory = directory;
    this.#onChange = onChange;
    this.#log = log;
  }

  /** Resolves after the first scan. A folder that is not there gives no pods and an error in the log. */
  static async open(
    directory: string,
    onChange: (manifests: readonly StaticManifest[]) => void,
    log: Logger,
  ): Promise<StaticSource> {
    const source = new StaticSource(directory, onChange, log);
    try {
      source.#watcher = watch(directory, () => source.#changed());
      source.#watcher.on('error', (error) =>
        log.error({ directory, error: errorLine(error) }, 'lost sight of the static pod folder'),
      );
    } catch (error) {
      log.error({ directory, error: errorLine(error) }, "can't watch the static pod folder");
    }
    await source.#rescan();
    return source;
  }

  #changed(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#rescan(), settleMs);
  }

  /** One scan after the other. Never rejects: the next change is looked at whatever became of this one. */
  #rescan(): Promise<void> {
    this.#scanning = this.#scanning
      .then(() => this.#scan())
      .catch((error: unknown) =>
        this.#log.error({ directory: this.#directory, error: errorLine(error) }, "can't take over the static pods"),
      );
    return this.#scanning;
  }

  async #scan(): Promise<void> {
    let names: string[];
    try {
      names = (await readdir(this.#directory)).filter((name) => /^[^.].*\.(ya?ml|json)$/.test(name)).sort();
    } catch (error) {
      this.#log.error({ directory: this.#directory, error: errorLine(error) }, "can't read the static pod folder");
      return;
    }
    const all: StaticManifest[] = [];
    for (const name of names) {
      const file = join(this.#directory, name);
      try {
        this.#last.set(name, await readManifests(file));
      } catch (error) {
        this.#log.error({ file, error: errorLine(error) }, 'static pod manifest ignored');
      }
      for (const manifest of this.#last.get(name) ?? []) all.push({ file, manifest });
    }
    for (const name of this.#last.keys()) if (!names.includes(name)) this.#last.delete(name);
    if (all.length > maxManifests)
      this.#log.error({ found: all.length, used: maxManifests }, 'too many static pod manifests');
    if (!this.#closed) this.#onChange(all.slice(0, maxManifests));
  }

  [Symbol.dispose](): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#watcher?.close();
  }
}

async function readManifests(file: string): Promise<unknown[]> {
  const found = await stat(file);
  if (!found.isFile()) throw new Error(`${file} is not a file`);
  if (found.size > maxManifestBytes) throw new Error(`${file} is larger than 1Mi`);
  const documents = parseAllDocuments(await readFile(file, 'utf8'));
  return documents.flatMap((document) => {
    const error = document.errors[0];
    if (error !== undefined) throw error;
    const manifest: unknown = document.toJS({ maxAliasCount: 100 });
    return manifest === null ? [] : [manifest];
  });
}
