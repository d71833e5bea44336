/** The part of V8's WebAssembly API that Loamlet uses; TypeScript declares it for browsers only, without JSPI. */
declare namespace WebAssembly {
  type ExternalKind = 'function' | 'table' | 'memory' | 'global' | 'tag';
  type ExportValue = ((...args: never[]) => unknown) | Memory | object;
  type Imports = Record<string, Record<string, unknown>>;

  class Module {
    constructor(bytes: Uint8Array<ArrayBuffer> | ArrayBuffer);
    static imports(module: Module): { module: string; name: string; kind: ExternalKind }[];
    static exports(module: Module): { name: string; kind: ExternalKind }[];
    static customSections(module: Module, name: string): ArrayBuffer[];
  }
  class Instance {
    constructor(module: Module, imports?: Imports);
    readonly exports: Readonly<Record<string, ExportValue>>;
  }
  class Memory {
    constructor(limits: { initial: number; maximum?: number });
    readonly buffer: ArrayBuffer;
    grow(pages: number): number;
  }
  class Global {
    value: unknown;
  }
  /** An import that parks the whole stack of the guest until the promise settles. */
  class Suspending {
    constructor(call: (...args: never[]) => unknown);
  }
  function compile(bytes: Uint8Array<ArrayBuffer>): Promise<Module>;
  /** The export, run on a stack that may suspend. */
  function promising(call: ExportValue): (...args: number[]) => Promise<unknown>;
  class RuntimeError extends Error {}
  class LinkError extends Error {}
  class CompileError extends Error {}
  class Exception {}
}
