import { concat, leb, name } from './byte-writer.ts';
import {
  descriptionSection,
  hostModule,
  precompileVersion,
  refusedExport,
  startExport,
  type ModuleDescription,
} from './description.ts';
import { PrecompileError } from './errors.ts';
import { watchGrowth } from './growth.ts';
import { readShape, type ModuleShape } from './module-shape.ts';
import { readSections, sectionId, type Section } from './sections.ts';
import { SectionEdits } from './section-edits.ts';
import { boundTables } from './tables.ts';

const memoryKind = 2;
const largestMemory = 65_536;

/**
 * Makes of a checked core module what runners run, in steps that each only append, so that no index changes:
 * - its own memory becomes the imported memory 0 (`loamlet` `memory`), so that the host makes it with the container's limit as
 *   its maximum and one artifact serves every limit; an export of the memory stays;
 * - a start section becomes the export `loamlet:start`, called first through `promising`: nothing may suspend while a
 *   module is instantiated;
 * - its tables get a maximum: no memory limit counts them;
 * - `memory.grow` notes a refusal in the exported global `loamlet:refused`, so that a trap for want of memory is told as one;
 * - custom sections no one reads at run time are left out, and a description is put in.
 * Instrumentation for metering will be one more step; `precompileVersion` tells the outputs of different steps apart.
 */
export function transform(bytes: Uint8Array): { module: Uint8Array; description: ModuleDescription } {
  const sections = readSections(bytes);
  const shape = readShape(bytes, sections);
  const reserved = [startExport, refusedExport].find((name) => shape.exports.has(name));
  if (reserved !== undefined) {
    throw new PrecompileError(
      'ErrModuleUnsupported',
      `the module exports "${reserved}", a name Loamlet keeps for itself`,
      {
        remedy: 'rename the export',
      },
    );
  }
  const edits = new SectionEdits(bytes, sections);
  if (shape.memory) importMemory(edits, shape.memory.minPages);
  if (shape.start !== undefined) exportStart(edits, shape.start);
  const grows = watchGrowth(bytes, sections, shape, edits);
  boundTables(bytes, sections, edits);
  const description = describe(shape);
  const json = new TextEncoder().encode(JSON.stringify(description));
  // Function names are for traps, hints for the compiler; hints name places in functions, which watching growth moves.
  const kept = ({ name }: Section): boolean => name === 'name' || (name === 'metadata.code.branch_hint' && !grows);
  return { module: edits.apply(concat([name(descriptionSection), json]), kept), description };
}

function importMemory(edits: SectionEdits, minPages: number): void {
  edits.remove(sectionId.memory);
  edits.append(
    sectionId.import,
    concat([name(hostModule), name('memory'), [memoryKind, 1], leb(minPages), leb(largestMemory)]),
  );
}

function exportStart(edits: SectionEdits, index: number): void {
  edits.remove(sectionId.start);
  edits.append(sectionId.export, concat([name(startExport), [0], leb(index)]));
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
