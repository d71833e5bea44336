import type { ExternalKind } from './module-shape.ts';

/** Changes with every change of what `transform` makes of the same input; part of the cache's key. */
export const precompileVersion = 3;

/** The module name of what runners themselves give to every precompiled module. */
export const hostModule = 'loamlet';
/** The export that a start section becomes. */
export const startExport = 'loamlet:start';
/** The exported global that is 1 once its memory could not grow; absent when it never asks for more. */
export const refusedExport = 'loamlet:refused';
/** The custom section that carries the description within the module. */
export const descriptionSection = 'loamlet';

/** What the agent and the runner need to know of a module without reading it. */
export interface ModuleDescription {
  readonly version: number;
  /** As the source has them; runners check them against the grant. */
  readonly imports: readonly { readonly module: string; readonly name: string; readonly kind: ExternalKind }[];
  /** Pages of 64 KiB; null for a module without memory. `maxPages` is the module's own bound. */
  readonly memory: { readonly minPages: number; readonly maxPages: number | null } | null;
  /** A command has a `_start` function. */
  readonly kind: 'command' | 'reactor';
  readonly hasStart: boolean;
  readonly hasRealloc: boolean;
}

const kinds: readonly unknown[] = ['function', 'table', 'memory', 'global', 'tag'];

/** Checks a description read from a file, a child process or a custom section; undefined when it is not one of this version. */
export function parseDescription(value: unknown): ModuleDescription | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const it = value as Partial<Record<keyof ModuleDescription, unknown>>;
  if (it.version !== precompileVersion || !Array.isArray(it.imports)) return undefined;
  const imports: ModuleDescription['imports'][number][] = [];
  for (const entry of it.imports as unknown[]) {
    if (typeof entry !== 'object' || entry === null) return undefined;
    const { module, name, kind } = entry as Record<string, unknown>;
    if (typeof module !== 'string' || typeof name !== 'string' || !kinds.includes(kind)) return undefined;
    imports.push({ module, name, kind: kind as ExternalKind });
  }
  const memory = parseMemory(it.memory);
  if (memory === undefined || (it.kind !== 'command' && it.kind !== 'reactor')) return undefined;
  if (typeof it.hasStart !== 'boolean' || typeof it.hasRealloc !== 'boolean') return undefined;
  return { version: it.version, imports, memory, kind: it.kind, hasStart: it.hasStart, hasRealloc: it.hasRealloc };
}

function parseMemory(value: unknown): ModuleDescription['memory'] | undefined {
  if (value === null) return null;
  if (typeof value !== 'object') return undefined;
  const { minPages, maxPages } = value as Record<string, unknown>;
  const pages = (n: unknown): n is number => Number.isInteger(n) && (n as number) >= 0 && (n as number) <= 65536;
  if (!pages(minPages) || (maxPages !== null && !pages(maxPages))) return undefined;
  return { minPages, maxPages };
}
