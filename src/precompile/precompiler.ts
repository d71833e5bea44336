import { mkdir, open, readdir, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { runChild, type ChildLimits } from './child.ts';
import { parseDescription, precompileVersion, type ModuleDescription } from './description.ts';
import { PrecompileError } from './errors.ts';

export interface PrecompilerOptions {
  /** Where precompiled modules are kept; made if missing. Runners must be able to read it. */
  readonly directory: string;
  /** Largest module accepted, in bytes. @default 64 MiB */
  readonly maxModuleBytes?: number;
  /** Longest time for one module, in milliseconds. @default 60,000 */
  readonly timeoutMs?: number;
  /** All kept modules together, in bytes; the least recently used go first. @default 512 MiB */
  readonly maxCacheBytes?: number;
  /** Most calls that may wait for the one child. @default 256 */
  readonly maxWaiting?: number;
  /** Who the child becomes; for an agent that runs as root. */
  readonly user?: string | undefined;
}

export interface PrecompiledModule {
  /** The file a runner loads, mode 0644. */
  readonly path: string;
  /** Of the source, as it was given. */
  readonly digest: string;
  readonly description: ModuleDescription;
}

interface Kept {
  readonly size: number;
  readonly description: ModuleDescription;
}

/**
 * Turns module files into what runners run, in a short-lived child process: untrusted parsing does not happen beside the
 * credentials of its caller. Results are kept on disk by digest and precompiler version; refusals are not. One child at a
 * time, in the order of calls; two calls for one digest share its work.
 */
export class Precompiler {
  readonly #directory: string;
  readonly #limits: ChildLimits;
  readonly #maxCacheBytes: number;
  readonly #maxWaiting: number;
  #waiting = 0;
  #turn: Promise<unknown> = Promise.resolve();

  private constructor(options: PrecompilerOptions) {
    this.#directory = options.directory;
    this.#limits = {
      maxModuleBytes: options.maxModuleBytes ?? 64 << 20,
      timeoutMs: options.timeoutMs ?? 60_000,
      ...(options.user !== undefined && { user: options.user }),
    };
    this.#maxCacheBytes = options.maxCacheBytes ?? 512 << 20;
    this.#maxWaiting = options.maxWaiting ?? 256;
  }

  static async open(options: PrecompilerOptions): Promise<Precompiler> {
    await mkdir(options.directory, { recursive: true, mode: 0o755 });
    for (const file of await readdir(options.directory)) {
      if (file.endsWith('.new')) await rm(join(options.directory, file), { force: true });
    }
    return new Precompiler(options);
  }

  /**
   * @param digest of the file's content (`sha256:…`), checked by whoever stored it
   * @throws PrecompileError; the signal's reason
   */
  async precompile(sourcePath: string, digest: string, signal: AbortSignal): Promise<PrecompiledModule> {
    if (!/^[a-z0-9]+:[a-f0-9]{32,128}$/.test(digest))
      throw new PrecompileError('ErrPrecompile', `"${digest.slice(0, 80)}" is not a digest`);
    const path = join(this.#directory, `${digest.replace(':', '-')}.v${precompileVersion}.wasm`);
    const ready = await this.#find(path);
    if (ready) return { path, digest, description: ready };
    if (this.#waiting >= this.#maxWaiting) {
      throw new PrecompileError('ErrPrecompile', `${this.#waiting} modules wait to be prepared already`, {
        remedy: 'it is tried again later',
      });
    }
    this.#waiting++;
    const turn = this.#turn.then(async () => {
      signal.throwIfAborted();
      const description = (await this.#find(path)) ?? (await this.#make(sourcePath, path, signal));
      return { path, digest, description };
    });
    this.#turn = turn.catch(() => {});
    try {
      return await turn;
    } finally {
      this.#waiting--;
    }
  }

  async #make(sourcePath: string, path: string, signal: AbortSignal): Promise<ModuleDescription> {
    const temporary = `${path}.new`;
    try {
      await using source = await open(sourcePath, 'r');
      let kept: Kept;
      {
        await using target = await open(temporary, 'w', 0o644);
        kept = await runChild(source, target, this.#limits, signal);
        await target.chmod(0o644);
        await target.sync();
      }
      await rename(temporary, path);
      const json = `${path}.json.new`;
      await writeFile(json, JSON.stringify(kept), { mode: 0o644, flush: true });
      await rename(json, descriptionPath(path));
      await this.#evict(path);
      return kept.description;
    } finally {
      await rm(temporary, { force: true });
    }
  }

  /** The description is written last: a module without one, or of another size, is not there. */
  async #find(path: string): Promise<ModuleDescription | undefined> {
    try {
      const kept = JSON.parse(await readFile(descriptionPath(path), 'utf8')) as {
        size?: unknown;
        description?: unknown;
      };
      const description = parseDescription(kept.description);
      if (!description || (await stat(path)).size !== kept.size) return undefined;
      const now = new Date();
      await utimes(path, now, now);
      return description;
    } catch {
      return undefined;
    }
  }

  async #evict(keep: string): Promise<void> {
    const files: { path: string; size: number; usedMs: number }[] = [];
    for (const file of await readdir(this.#directory)) {
      if (!file.endsWith('.wasm')) continue;
      const path = join(this.#directory, file);
      const found = await stat(path).catch(() => undefined);
      if (found) files.push({ path, size: found.size, usedMs: found.mtimeMs });
    }
    let total = files.reduce((sum, file) => sum + file.size, 0);
    for (const file of files.sort((a, b) => a.usedMs - b.usedMs)) {
      if (total <= this.#maxCacheBytes) return;
      if (file.path === keep) continue;
      await rm(descriptionPath(file.path), { force: true });
      await rm(file.path, { force: true });
      total -= file.size;
    }
  }
}

function descriptionPath(path: string): string {
  return path.replace(/wasm$/, 'json');
}
