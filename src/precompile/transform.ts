import { concat, leb, name } from './byte-writer.ts';
import {
  descriptionSection,
  hostModule,
  precompileVersion,
  startExport,
  type ModuleDescription,
} from './description.ts';
import { PrecompileError } from './errors.ts';
import { readShape, type ModuleShape } from './module-shape.ts';
import { readSections, sectionId, type Section } from './sections.ts';

/** Custom sections worth their memory in the runner: function names for traps, and hints for the compiler. */
const keptCustomSections = new Set(['name', 'metadata.code.branch_hint']);
const memoryKind = 2;

/**
 * Makes of a checked core module what runners run:
 * - its own memory becomes the imported memory 0 (`loamlet` `memory`), so that the host makes it with the container's limit as
 *   its maximum and one artifact serves every limit; an export of the memory stays;
 * - a start section becomes the export `loamlet:start`, called first through `promising`: nothing may suspend while a
 *   module is instantiated;
 * - custom sections no one reads at run time are left out, and a description is put in.
 * Function indices do not change. Instrumentation for metering will be one more step here; the output of any change to
 * this file is told apart by `precompileVersion`.
 */
export function transform(bytes: Uint8Array): { module: Uint8Array; description: ModuleDescription } {
  const sections = readSections(bytes);
  const shape = readShape(bytes, sections);
  if (shape.exports.has(startExport)) {
    throw new PrecompileError(
      'ErrModuleUnsupported',
      `the module exports "${startExport}", a name Loamlet keeps for itself`,
      {
        remedy: 'rename the export',
      },
    );
  }
  const description = describe(shape);
  const out: ArrayLike<number>[] = [bytes.subarray(0, 8)];
  const emit = (id: number, content: readonly ArrayLike<number>[]): void => {
    const length = content.reduce((sum, part) => sum + part.length, 0);
    out.push([id], leb(length), ...content);
  };
  const json = new TextEncoder().encode(JSON.stringify(description));
  emit(0, [name(descriptionSection), json]);
  let pendingImport = shape.memory !== undefined;
  let pendingExport = shape.start !== undefined;
  for (const section of sections) {
    if (pendingImport && section.id > 1 && section.id !== sectionId.import) {
      emit(sectionId.import, [leb(1), memoryImport(shape.memory!.minPages)]);
      pendingImport = false;
    }
    if (pendingExport && comesAfterExports(section.id)) {
      emit(sectionId.export, [leb(1), startExportEntry(shape.start!)]);
      pendingExport = false;
    }
    const content = bytes.subarray(section.start, section.end);
    if (section.id === sectionId.import && pendingImport) {
      emit(section.id, [...appended(content, shape.imports.length, memoryImport(shape.memory!.minPages))]);
      pendingImport = false;
    } else if (section.id === sectionId.export && pendingExport) {
      emit(section.id, [...appended(content, countOf(bytes, section), startExportEntry(shape.start!))]);
      pendingExport = false;
    } else if (section.id === sectionId.memory || section.id === sectionId.start) {
      continue;
    } else if (section.id !== 0 || keptCustomSections.has(section.name!)) {
      emit(section.id, [content]);
    }
  }
  return { module: concat(out), description };
}

function describe(shape: ModuleShape): ModuleDescription {
  const exported = (name: string): boolean => shape.exports.get(name)?.kind === 'function';
  return {
    version: precompileVersion,
    imports: shape.imports.map(({ module, name, kind }) => ({ module, name, kind })),
    memory:
      shape.memory === undefined ? null : { minPages: shape.memory.minPages, maxPages: shape.memory.maxPages ?? null },
    kind: exported('_start') ? 'command' : 'reactor',
    hasStart: shape.start !== undefined,
    hasRealloc: exported('cabi_realloc'),
  };
}

function comesAfterExports(id: number): boolean {
  return id >= 8 && id <= 12;
}

function memoryImport(minPages: number): Uint8Array {
  return concat([name(hostModule), name('memory'), [memoryKind, 1], leb(minPages), leb(65536)]);
}

function startExportEntry(index: number): Uint8Array {
  return concat([name(startExport), [0], leb(index)]);
}

/** A vector's content with one more element at its end. */
function appended(content: Uint8Array, count: number, element: Uint8Array): ArrayLike<number>[] {
  let at = 0;
  while (content[at]! & 0x80) at++;
  return [leb(count + 1), content.subarray(at + 1), element];
}

function countOf(bytes: Uint8Array, section: Section): number {
  let count = 0;
  let at = section.start;
  for (let shift = 0; ; shift += 7) {
    const byte = bytes[at++]!;
    count += (byte & 0x7f) * 2 ** shift;
    if (byte < 0x80) return count;
  }
}
