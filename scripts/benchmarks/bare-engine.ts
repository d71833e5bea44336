import { readFileSync } from 'node:fs';

/** A prepared module on V8 alone: imports that do nothing, no scheduler, no grants. What is left is the engine's part. */
export function bareModule(path: string): WebAssembly.Module {
  return new WebAssembly.Module(readFileSync(path));
}

/** One import object for all instances; `write` is what a first line arrives at. */
export function bareImports(module: WebAssembly.Module, write: () => void): WebAssembly.Imports {
  const imports: WebAssembly.Imports = {};
  for (const { module: from, name, kind } of WebAssembly.Module.imports(module)) {
    if (kind === 'function') (imports[from] ??= {})[name] = bareFunction(name, write);
  }
  return imports;
}

function bareFunction(name: string, write: () => void): unknown {
  switch (name) {
    case 'fd_write':
      return () => {
        write();
        return 0;
      };
    case 'poll_oneoff':
      return new WebAssembly.Suspending(() => new Promise(() => {}));
    case 'sched_yield':
    case 'wait':
      return new WebAssembly.Suspending(async () => 0);
    default:
      return () => 0;
  }
}

export function bareInstance(
  module: WebAssembly.Module,
  imports: WebAssembly.Imports,
): WebAssembly.Instance['exports'] {
  const own = (imports['loamlet'] ??= {});
  own['memory'] = new WebAssembly.Memory({ initial: 2, maximum: 1024 });
  return new WebAssembly.Instance(module, imports).exports;
}
