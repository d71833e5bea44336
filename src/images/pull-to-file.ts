import { copyFile, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { LoamletError, systemCode } from '../base/errors.ts';
import { ModuleStore } from './module-store.ts';
import { parseReference } from './reference.ts';
import type { RegistryOptions } from './registry.ts';

/** Pulls a module through a store of its own and writes it to a file. @throws ImageError, LoamletError OutputNotWritten */
export async function pullToFile(
  reference: string,
  output: string | undefined,
  options: RegistryOptions,
  signal: AbortSignal,
): Promise<{ readonly path: string; readonly imageId: string }> {
  const name = parseReference(reference).repository.split('/').at(-1) ?? 'module';
  const target = resolve(output ?? `${name}.wasm`);
  const directory = await mkdtemp(join(tmpdir(), 'loamlet-pull-'));
  try {
    const store = await ModuleStore.open({ ...options, directory });
    const { path, imageId } = await store.ensure(reference, 'IfNotPresent', signal);
    await copyFile(path, target).catch((error: unknown) => {
      throw new LoamletError('OutputNotWritten', 'operator', `${target} can't be written (${systemCode(error)})`, {
        remedy: 'name another file with -o FILE',
      });
    });
    return { path: target, imageId };
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}
