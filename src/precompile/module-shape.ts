import { printable } from '../base/printable.ts';
import { ByteReader } from './byte-reader.ts';
import { PrecompileError } from './errors.ts';
import { maxNameBytes, sectionId, sectionName, type Section } from './sections.ts';

export type ExternalKind = 'function' | 'table' | 'memory' | 'global' | 'tag';
const kinds: readonly ExternalKind[] = ['function', 'table', 'memory', 'global', 'tag'];

export interface ModuleImport {
  readonly module: string;
  readonly name: string;
  readonly kind: ExternalKind;
}

/** What a module asks for and offers: all that is needed to change and describe it. */
export interface ModuleShape {
  readonly imports: readonly ModuleImport[];
  /** Undefined when the module has no memory. Pages of 64 KiB. */
  readonly memory: { readonly minPages: number; readonly maxPages?: number } | undefined;
  readonly exports: ReadonlyMap<string, { readonly kind: ExternalKind; readonly index: number }>;
  /** Index of the start function. */
  readonly start: number | undefined;
}

const maxImports = 10_000;
const maxExports = 100_000;

/** @throws PrecompileError `ErrModuleInvalid`, or `ErrModuleUnsupported` naming what is not handled. */
export function readShape(bytes: Uint8Array, sections: readonly Section[]): ModuleShape {
  const open = (id: number): ByteReader | undefined => {
    const section = sections.find((s) => s.id === id);
    return section && new ByteReader(bytes, sectionName(id), section.start, section.end);
  };
  const imports = readImports(open(sectionId.import));
  const memory = readMemory(open(sectionId.memory));
  const exports = readExports(open(sectionId.export));
  const startReader = open(sectionId.start);
  const start = startReader?.u32();
  if (startReader && !startReader.done) startReader.fail('it is longer than its content');
  return { imports, memory, exports, start };
}

function readImports(reader: ByteReader | undefined): ModuleImport[] {
  const imports: ModuleImport[] = [];
  if (!reader) return imports;
  const count = reader.count('imports', maxImports);
  for (let n = 0; n < count; n++) {
    const module = reader.name(maxNameBytes);
    const name = reader.name(maxNameBytes);
    const kind = kinds[reader.u8()] ?? reader.fail('an import of an unknown kind');
    if (module === 'loamlet')
      unsupported('it imports from "loamlet", a name Loamlet keeps for itself', 'import from loamlet:host/...');
    switch (kind) {
      case 'function':
        reader.u32();
        break;
      case 'table':
        skipReferenceType(reader);
        skipLimits(reader);
        break;
      case 'memory':
        unsupported(
          `it imports its memory ("${printable(module)}" "${printable(name)}")`,
          'let the module define and export its own memory',
        );
        break;
      case 'global':
        skipValueType(reader);
        reader.u8();
        break;
      case 'tag':
        reader.u8();
        reader.u32();
        break;
      default:
        kind satisfies never;
    }
    imports.push({ module, name, kind });
  }
  if (!reader.done) reader.fail('it is longer than its content');
  return imports;
}

function readMemory(reader: ByteReader | undefined): ModuleShape['memory'] {
  if (!reader) return undefined;
  const count = reader.count('memories', 100);
  if (count > 1) unsupported(`it has ${count} memories`, 'build it with one memory');
  if (count === 0) return undefined;
  const flags = reader.u8();
  if (flags & 0x02) unsupported('its memory is shared (threads)', 'build it without the threads and atomics features');
  if (flags & 0x04) unsupported('its memory is 64-bit (memory64)', 'build it for wasm32');
  if (flags & 0x08)
    unsupported('its memory has a page size of its own', 'build it without the custom-page-sizes feature');
  if (flags > 1) reader.fail(`memory flags ${flags} are unknown`);
  const minPages = reader.u32();
  const maxPages = flags & 1 ? reader.u32() : undefined;
  if (minPages > 65536 || (maxPages !== undefined && (maxPages > 65536 || maxPages < minPages)))
    reader.fail('the memory limits are impossible');
  if (!reader.done) reader.fail('it is longer than its content');
  return maxPages === undefined ? { minPages } : { minPages, maxPages };
}

function readExports(reader: ByteReader | undefined): Map<string, { kind: ExternalKind; index: number }> {
  const exports = new Map<string, { kind: ExternalKind; index: number }>();
  if (!reader) return exports;
  const count = reader.count('exports', maxExports);
  for (let n = 0; n < count; n++) {
    const name = reader.name(100_000);
    const kind = kinds[reader.u8()] ?? reader.fail('an export of an unknown kind');
    exports.set(name, { kind, index: reader.u32() });
  }
  if (!reader.done) reader.fail('it is longer than its content');
  return exports;
}

function skipLimits(reader: ByteReader): void {
  const flags = reader.u8();
  reader.skipLeb();
  if (flags & 1) reader.skipLeb();
}

function skipReferenceType(reader: ByteReader): void {
  const byte = reader.u8();
  if (byte === 0x63 || byte === 0x64) reader.skipLeb();
}

const skipValueType = skipReferenceType;

function unsupported(what: string, remedy: string): never {
  throw new PrecompileError('ErrModuleUnsupported', `Loamlet can't run this module: ${what}`, { remedy });
}
