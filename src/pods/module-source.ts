import type { Grant } from '../../hostcalls/grant.ts';
import { checkImports, denialLine } from '../../hostcalls/link.ts';
import { LoamletError } from '../base/errors.ts';
import { formatBytes } from '../base/quantity.ts';
import type { ModuleStore } from '../images/module-store.ts';
import type { Precompiler } from '../precompile/precompiler.ts';
import type { ContainerSpec, Pod } from './pod.ts';
import type { PreparedModule } from './pod-worker.ts';

const pageBytes = 65_536;

/**
 * From a container's image to a module that may start: fetched, precompiled, its imports within the grant and its memory
 * within the limit. What is refused here has not cost the runner anything.
 */
export class ModuleSource {
  readonly #images: Pick<ModuleStore, 'ensure'>;
  readonly #precompiler: Pick<Precompiler, 'precompile'>;

  constructor(images: Pick<ModuleStore, 'ensure'>, precompiler: Pick<Precompiler, 'precompile'>) {
    this.#images = images;
    this.#precompiler = precompiler;
  }

  /** @throws LoamletError whose code is the waiting reason; the signal's reason */
  async prepare(
    pod: Pod,
    container: ContainerSpec,
    grant: Grant,
    memoryLimitBytes: number,
    signal: AbortSignal,
  ): Promise<PreparedModule> {
    const image = await this.#images.ensure(container.image, container.imagePullPolicy, signal, {
      allowFiles: pod.source === 'static',
    });
    const module = await this.#precompiler.precompile(image.path, image.digest, signal);
    const denials = checkImports(module.description.imports, grant);
    if (denials.length > 0) throw new LoamletError('GrantDenied', 'operator', denialLine(denials));
    const minimum = (module.description.memory?.minPages ?? 0) * pageBytes;
    if (minimum > memoryLimitBytes) {
      throw new LoamletError(
        'CreateContainerError',
        'operator',
        `the module starts with ${formatBytes(minimum)} of memory and its limit is ${formatBytes(memoryLimitBytes)}`,
        { remedy: 'raise resources.limits.memory' },
      );
    }
    return {
      image: { reference: image.reference, imageId: image.imageId },
      modulePath: module.path,
      moduleDigest: module.digest,
    };
  }
}
