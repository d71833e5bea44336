import { ByteReader } from './byte-reader.ts';
import { concat, leb, name } from './byte-writer.ts';
import { walkBody } from './code-walk.ts';
import { refusedExport } from './description.ts';
import type { ModuleShape } from './module-shape.ts';
import { sectionId, sectionName, type Section } from './sections.ts';
import type { SectionEdits } from './section-edits.ts';
import { checkTypes } from './types.ts';

const memoryGrow = 0x40;
const i32 = 0x7f;

/**
 * Replaces each `memory.grow` by a call of a function that does it and notes a refusal. Returns false when there is none. Goes
 * through all types and code, so that what is not known here is refused, garbage-collected types above all: they grow V8's own
 * heap, which no container's limit bounds.
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
  const types = checkTypes(open(sectionId.type), open(sectionId.tag));
  const code = open(sectionId.code);
  if (!code) return false;
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
