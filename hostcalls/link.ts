/** Whether a module's imports are within a grant: asked before any start, the same on a laptop and on a node. Pure. */
import { nearest } from '../src/base/nearest.ts';
import { printable } from '../src/base/printable.ts';
import type { Grant } from './grant.ts';
import { notOffered, offered, wasiModules, type Need } from './interfaces.ts';

/** An import as `WebAssembly.Module.imports` lists it. */
export interface ModuleImport {
  readonly module: string;
  readonly name: string;
  /** `function`, `memory`, `table`, `global` or `tag`. */
  readonly kind: string;
}

/** Why an import can't be given. `message` is one line that names it; `remedy` what to do. */
export interface ImportDenial {
  readonly module: string;
  readonly name: string;
  readonly message: string;
  readonly remedy: string;
}

/** In the order of the imports; empty when the module may be linked. */
export function checkImports(imports: readonly ModuleImport[], grant: Grant): ImportDenial[] {
  return imports.flatMap((wanted) => {
    const denial = check(wanted, grant);
    return denial === undefined ? [] : [{ module: wanted.module, name: wanted.name, ...denial }];
  });
}

/** All denials as one line for a status, an event or a terminal: the first, and how many more there are. */
export function denialLine(denials: readonly ImportDenial[]): string {
  const [first, ...more] = denials;
  if (first === undefined) return '';
  const others = more.length === 0 ? '' : ` (and ${more.length} more ${more.length === 1 ? 'import' : 'imports'})`;
  return `${first.message}: ${first.remedy}${others}`;
}

type Answer = { message: string; remedy: string } | undefined;

function check({ module, name, kind }: ModuleImport, grant: Grant): Answer {
  const label = printable(`${module} ${name}`);
  if (wasiModules.includes(module) && kind === 'function') return undefined;
  const known = Object.hasOwn(offered, module) ? offered[module] : undefined;
  if (known === undefined) return unknownModule(module, label, kind);
  if (kind !== 'function' || !known.functions.includes(name)) {
    const near = nearest(name, known.functions);
    return {
      message: `the module imports ${label}, which is no function of that interface`,
      remedy: near === undefined ? `it has ${known.functions.join(', ')}` : `did you mean ${near}?`,
    };
  }
  return has(grant, known.need) ? undefined : notGranted(label, known.need);
}

function has(grant: Grant, need: Need): boolean {
  switch (need) {
    case 'device':
      return grant.devices.length > 0;
    case 'messaging':
      return grant.messaging !== undefined;
    case 'nothing':
      return true;
  }
}

function notGranted(label: string, need: Need): Answer {
  const message = `the module imports ${label}, which it is not granted`;
  return need === 'device'
    ? {
        message,
        remedy: 'ask for a device: resources.limits loamlet.dev/RESOURCE: 1, or loamlet run --device NAME=DRIVER',
      }
    : {
        message,
        remedy:
          'the node needs a broker (mqtt in its config), and a policy, where it has one, with a rule for the namespace',
      };
}

function unknownModule(module: string, label: string, kind: string): Answer {
  if (notOffered.includes(module)) {
    return {
      message: `the module imports ${label}, which this version of Loamlet does not offer`,
      remedy: `it offers ${Object.keys(offered).join(', ')}`,
    };
  }
  const message = `the module imports ${label}${kind === 'function' ? '' : ` (a ${kind})`}, which does not exist here`;
  const otherVersion = Object.keys(offered).find((candidate) => withoutVersion(candidate) === withoutVersion(module));
  if (otherVersion !== undefined) return { message, remedy: `this version offers ${otherVersion}` };
  const near = nearest(module, [...Object.keys(offered), ...notOffered, ...wasiModules]);
  if (near !== undefined) return { message, remedy: `did you mean ${near}?` };
  return {
    message,
    remedy: 'build it as a WASI preview 1 command (target wasm32-wasip1) with the bindings of Loamlet',
  };
}

function withoutVersion(module: string): string {
  return module.split('@', 1)[0] ?? module;
}
