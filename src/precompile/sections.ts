import { ByteReader } from './byte-reader.ts';
import { PrecompileError } from './errors.ts';

/** One section: `start` and `end` bound its content; `name` is that of a custom section. */
export interface Section {
  readonly id: number;
  readonly start: number;
  readonly end: number;
  readonly name?: string;
}

const names = [
  'custom',
  'type',
  'import',
  'function',
  'table',
  'memory',
  'global',
  'export',
  'start',
  'element',
  'code',
  'data',
  'data count',
  'tag',
] as const;
/** Where each id stands in the prescribed order of sections. */
const order = [0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 12, 13, 11, 6];

export const sectionId = {
  type: 1,
  import: 2,
  function: 3,
  table: 4,
  memory: 5,
  global: 6,
  export: 7,
  start: 8,
  code: 10,
  tag: 13,
} as const;
const maxSections = 10_000;
export const maxNameBytes = 1024;

/** Sections stand in this order, custom ones anywhere. */
export function sectionOrder(id: number): number {
  return order[id]!;
}

export function sectionName(id: number): string {
  return `the ${names[id] ?? 'unknown'} section`;
}

/**
 * Splits a module into its sections: known ids, each at most once, in order, whole. Contents are not looked at.
 * At most 10,000 sections. @throws PrecompileError `ErrModuleInvalid` naming the section.
 */
export function readSections(bytes: Uint8Array): readonly Section[] {
  const reader = new ByteReader(bytes, 'the module', 8);
  const sections: Section[] = [];
  let last = 0;
  while (!reader.done) {
    if (sections.length >= maxSections) reader.fail(`it has more than ${maxSections} sections`);
    const id = reader.u8();
    if (id >= names.length) reader.fail(`section id ${id} is unknown`);
    const here = new ByteReader(bytes, sectionName(id), reader.at);
    const size = here.u32();
    const start = here.at;
    const left = bytes.length - start;
    if (size > left) {
      throw new PrecompileError(
        'ErrModuleInvalid',
        `the module is truncated: ${sectionName(id)} takes ${size} bytes, the file has ${left} more`,
        {
          remedy: 'build it again and check that the upload was complete',
        },
      );
    }
    const end = start + size;
    if (id === 0) {
      sections.push({ id, start, end, name: new ByteReader(bytes, sectionName(0), start, end).name(maxNameBytes) });
    } else {
      if (sectionOrder(id) <= last) here.fail('it is repeated or out of order');
      last = sectionOrder(id);
      sections.push({ id, start, end });
    }
    reader.at = end;
  }
  return sections;
}
