import { ByteReader } from './byte-reader.ts';
import { concat, leb, name } from './byte-writer.ts';
import { walkBody } from './code-walk.ts';
import { refusedExport } from './description.ts';
import { PrecompileError } from './errors.ts';
import type { ModuleShape } from './module-shape.ts';
import { sectionId, sectionName, type Section } from './sections.ts';
import type { SectionEdits } from './section-edits.ts';

const memoryGrow = 0x40;
const i32 = 0x7f;

/**
 * Replaces each `memory.grow` by a call of a function that does it and notes a refusal. Returns false when there is none. Goes
 * through all code, so that what the walk does not know is refused here.
 */
export function watchGrowth(
  bytes: Uint8Array,
  sections: readonly Section[],
  shape: ModuleShape,
  edits: SectionEdits,
): boolean {
  const open = (id: number): ByteReader | undefined => {
    const section = sections.find((candidate) => candidate.id === id);
    return section && new ByteReader(bytes, sectionName(id), section.start, section.end);
  };
  const code = open(sectionId.code);
  if (!code) return false;
  const types = countTypes(open(sectionId.type));
  const imported = (kind: string): number => shape.imports.filter((wanted) => wanted.kind === kind).length;
  const grow = imported('function') + (open(sectionId.function)?.u32() ?? 0);
  const refused = imported('global') + (open(sectionId.global)?.u32() ?? 0);
  const { count, bodies, changed } = rewrite(code, grow);
  if (!changed) return false;
  edits.append(sectionId.type, [0x60, 1, i32, 1, i32]);
  edits.append(sectionId.function, leb(types));
  edits.append(sectionId.global, [i32, 1, 0x41, 0, 0x0b]);
  edits.append(sectionId.export, concat([name(refusedExport), [3], leb(refused)]));
  edits.replace(sectionId.code, count, bodies);
  edits.append(sectionId.code, growBody(refused));
  return true;
}

/** `(func (param i32) (result i32) ...)`: the pages before, or -1 and the global set. */
function growBody(refused: number): Uint8Array {
  const body = concat([
    [0], // no locals
    [0x20, 0, memoryGrow, 0, 0x22, 0], // local.tee 0 (memory.grow (local.get 0))
    [0x41, 0x7f, 0x46, 0x04, 0x40], // if (it is -1)
    [0x41, 1, 0x24],
    leb(refused), // global.set
    [0x0b, 0x20, 0, 0x0b],
  ]);
  return concat([leb(body.length), body]);
}

function rewrite(code: ByteReader, grow: number): { count: number; bodies: Uint8Array; changed: boolean } {
  const call = concat([[0x10], leb(grow)]);
  const count = code.count('functions', 1_000_000);
  const parts: ArrayLike<number>[] = [];
  let changed = false;
  for (let n = 0; n < count; n++) {
    const size = code.u32();
    const start = code.at;
    code.skip(size);
    const body: ArrayLike<number>[] = [];
    let copied = start;
    walkBody(new ByteReader(code.bytes, `${code.where} (function ${n})`, start, code.at), (opcode, from, to) => {
      if (opcode !== memoryGrow) return;
      body.push(code.bytes.subarray(copied, from), call);
      copied = to;
    });
    changed ||= body.length > 0;
    body.push(code.bytes.subarray(copied, code.at));
    parts.push(leb(body.reduce((sum, part) => sum + part.length, 0)), ...body);
  }
  return { count, bodies: concat(parts), changed };
}

/** Each element is one type: groups of them belong to garbage collection. */
function countTypes(reader: ByteReader | undefined): number {
  if (!reader) return 0;
  const count = reader.count('types', 1_000_000);
  for (let n = 0; n < count; n++) {
    if (reader.u8() !== 0x60) {
      throw new PrecompileError(
        'ErrModuleUnsupported',
        "Loamlet can't run this module: it uses garbage-collected types",
        {
          remedy: 'build it without that WebAssembly feature',
        },
      );
    }
    for (const what of ['parameters', 'results']) {
      for (let values = reader.count(what, 1000); values > 0; values--) {
        const byte = reader.u8();
        if (byte === 0x63 || byte === 0x64) reader.skipLeb();
      }
    }
  }
  return count;
}
