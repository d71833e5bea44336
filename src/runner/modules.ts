import { open } from 'node:fs/promises';
import { errorLine, systemCode } from '../base/errors.ts';
import { printable } from '../base/printable.ts';
import { descriptionSection, hostModule, parseDescription, type ModuleDescription } from '../precompile/description.ts';
import { ExecutorError } from './executor-error.ts';

/** A compiled module and all that its instances share. */
export interface LoadedModule {
  readonly module: WebAssembly.Module;
  readonly description: ModuleDescription;
}

interface Entry {
  users: number;
  readonly loading: Promise<LoadedModule>;
}

/** What the precompiler makes of the largest module that a node takes by default (256 MiB): at most twice as much. */
const maxFileBytes = 512 << 20;

/** One compiled module per digest, for as long as somebody uses it. */
export class Modules {
  readonly #entries = new Map<string, Entry>();

  get size(): number {
    return this.#entries.size;
  }

  /** Each call is matched by one of `release`. @throws ExecutorError when the file is not a precompiled module */
  async use(digest: string, path: string): Promise<LoadedModule> {
    const entry = this.#entries.get(digest) ?? { users: 0, loading: load(path) };
    this.#entries.set(digest, entry);
    entry.users++;
    try {
      return await entry.loading;
    } catch (error) {
      this.#drop(digest, entry);
      throw error;
    }
  }

  release(digest: string): void {
    const entry = this.#entries.get(digest);
    if (entry) this.#drop(digest, entry);
  }

  #drop(digest: string, entry: Entry): void {
    if (--entry.users === 0 && this.#entries.get(digest) === entry) this.#entries.delete(digest);
  }
}

async function load(path: string): Promise<LoadedModule> {
  let module: WebAssembly.Module;
  try {
    await using file = await open(path, 'r');
    const { size } = await file.stat();
    if (size > maxFileBytes) throw new Error(`it has ${size} bytes`);
    module = await WebAssembly.compile((await file.readFile()) as Uint8Array<ArrayBuffer>);
  } catch (cause) {
    const hidden = systemCode(cause) === 'EACCES';
    throw new ExecutorError('CreateContainerError', `the module can't be loaded: ${printable(errorLine(cause))}`, {
      ...(hidden && { remedy: "let the runner's user pass every folder above it (chmod o+x)" }),
      cause,
    });
  }
  const description = readDescription(module);
  // The description is held against a grant, V8's list is what is linked: a file in which they differ was not made by us.
  if (!description || !describes(description, module)) {
    throw new ExecutorError('CreateContainerError', 'the module was not prepared by this version of Loamlet', {
      remedy: 'start the agent and its runners with the same version',
    });
  }
  return { module, description };
}

function describes({ imports, memory }: ModuleDescription, module: WebAssembly.Module): boolean {
  const found = WebAssembly.Module.imports(module);
  const expected = memory ? [...imports, { module: hostModule, name: 'memory', kind: 'memory' }] : imports;
  return (
    found.length === expected.length &&
    found.every((wanted, i) => {
      const { module: from, name, kind } = expected[i]!;
      return wanted.module === from && wanted.name === name && wanted.kind === kind;
    })
  );
}

function readDescription(module: WebAssembly.Module): ModuleDescription | undefined {
  const [section] = WebAssembly.Module.customSections(module, descriptionSection);
  try {
    return section && parseDescription(JSON.parse(new TextDecoder().decode(section)));
  } catch {
    return undefined;
  }
}
