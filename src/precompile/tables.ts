import { ByteReader } from './byte-reader.ts';
import { concat, leb } from './byte-writer.ts';
import { PrecompileError } from './errors.ts';
import { sectionId, sectionName, type Section } from './sections.ts';
import type { SectionEdits } from './section-edits.ts';

const maxTables = 16;
/** Entries of all tables of a module at its start; an entry takes about 24 bytes of the runner's. */
const maxEntries = 262_144;
/** Entries that a table may grow to, if it does not start with more. */
const maxGrown = 16_384;

/**
 * Gives every table of a module a maximum: what they take is not memory of the module, so no limit of its container counts it.
 * @throws PrecompileError `ErrModuleUnsupported` for more than 16 tables or 262,144 entries
 */
export function boundTables(bytes: Uint8Array, sections: readonly Section[], edits: SectionEdits): void {
  const section = sections.find(({ id }) => id === sectionId.table);
  if (!section) return;
  const reader = new ByteReader(bytes, sectionName(section.id), section.start, section.end);
  const count = reader.count('tables', 100_000);
  if (count > maxTables) unsupported(`it has ${count} tables, at most ${maxTables} are allowed`);
  let entries = 0;
  const tables: ArrayLike<number>[] = [];
  for (let n = 0; n < count; n++) {
    const start = reader.at;
    const type = reader.u8();
    if (type === 0x40) unsupported('it has a table with an initial value');
    if (type === 0x63 || type === 0x64) reader.skipLeb();
    const element = bytes.subarray(start, reader.at);
    const flags = reader.u8();
    if (flags & 0x02) unsupported('its table is shared (threads)');
    if (flags & 0x04) unsupported('its table is 64-bit (memory64)');
    if (flags > 1) reader.fail(`table flags ${flags} are unknown`);
    const initial = reader.u32();
    const maximum = flags & 1 ? reader.u32() : Infinity;
    if (maximum < initial) reader.fail('the table limits are impossible');
    entries += initial;
    tables.push(element, [1], leb(initial), leb(Math.min(maximum, Math.max(initial, maxGrown))));
  }
  if (!reader.done) reader.fail('it is longer than its content');
  if (entries > maxEntries) unsupported(`its tables have ${entries} entries, at most ${maxEntries} are allowed`);
  edits.replace(sectionId.table, count, concat(tables));
}

function unsupported(what: string): never {
  throw new PrecompileError('ErrModuleUnsupported', `Loamlet can't run this module: ${what}`, {
    remedy: 'build it with one table of its functions, as compilers do',
  });
}
