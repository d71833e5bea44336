import type { ByteReader } from './byte-reader.ts';
import { PrecompileError } from './errors.ts';

/** An instruction: its opcode (of prefixed ones the prefix) and where it stands in the file. */
export type Visit = (opcode: number, start: number, end: number) => void;

const gcPrefix = 0xfb;

/**
 * Goes through the instructions of one function body, from behind its size to its end.
 * @throws PrecompileError `ErrModuleInvalid`; `ErrModuleUnsupported` for instructions that are not known here
 */
export function walkBody(reader: ByteReader, visit: Visit): void {
  const groups = reader.count('groups of locals', 50_000);
  for (let n = 0; n < groups; n++) {
    reader.u32();
    skipType(reader);
  }
  while (!reader.done) {
    const start = reader.at;
    const opcode = reader.u8();
    skipImmediates(reader, opcode);
    visit(opcode, start, reader.at);
  }
}

function skipType(reader: ByteReader): void {
  const byte = reader.u8();
  if (byte === 0x63 || byte === 0x64) reader.skipLeb();
}

function skipImmediates(reader: ByteReader, opcode: number): void {
  if (opcode >= 0x28 && opcode <= 0x3e) return skipMemoryArgument(reader);
  if (opcode >= 0x45 && opcode <= 0xc4) return; // numeric
  switch (opcode) {
    case 0x00: // unreachable
    case 0x01: // nop
    case 0x05: // else
    case 0x0a: // throw_ref
    case 0x0b: // end
    case 0x0f: // return
    case 0x19: // catch_all
    case 0x1a: // drop
    case 0x1b: // select
    case 0xd1: // ref.is_null
    case 0xd3: // ref.eq
    case 0xd4: // ref.as_non_null
      return;
    case 0x02: // block
    case 0x03: // loop
    case 0x04: // if
    case 0x06: // try
    case 0x07: // catch
    case 0x08: // throw
    case 0x09: // rethrow
    case 0x0c: // br
    case 0x0d: // br_if
    case 0x10: // call
    case 0x12: // return_call
    case 0x14: // call_ref
    case 0x15: // return_call_ref
    case 0x18: // delegate
    case 0x20: // local.get
    case 0x21: // local.set
    case 0x22: // local.tee
    case 0x23: // global.get
    case 0x24: // global.set
    case 0x25: // table.get
    case 0x26: // table.set
    case 0x3f: // memory.size
    case 0x40: // memory.grow
    case 0x41: // i32.const
    case 0x42: // i64.const
    case 0xd0: // ref.null
    case 0xd2: // ref.func
    case 0xd5: // br_on_null
    case 0xd6: // br_on_non_null
      return reader.skipLeb();
    case 0x11: // call_indirect
    case 0x13: // return_call_indirect
      reader.skipLeb();
      return reader.skipLeb();
    case 0x0e: {
      // br_table
      for (let labels = reader.count('labels', 1 << 20) + 1; labels > 0; labels--) reader.skipLeb();
      return;
    }
    case 0x1c: {
      // select with types
      for (let types = reader.count('types', 1000); types > 0; types--) skipType(reader);
      return;
    }
    case 0x1f: {
      // try_table
      reader.skipLeb();
      for (let clauses = reader.count('catch clauses', 10_000); clauses > 0; clauses--) {
        if (reader.u8() < 2) reader.skipLeb();
        reader.skipLeb();
      }
      return;
    }
    case 0x43: // f32.const
      return reader.skip(4);
    case 0x44: // f64.const
      return reader.skip(8);
    case 0xfc:
      return skipMiscellaneous(reader);
    case 0xfd:
      return skipVector(reader);
    case 0xfe:
      return skipAtomic(reader);
    default:
      unknown(opcode);
  }
}

/** Alignment, a memory index if its bit 6 says so, offset. */
function skipMemoryArgument(reader: ByteReader): void {
  if (reader.u32() & 0x40) reader.skipLeb();
  reader.skipLeb();
}

/** Saturating conversions, bulk memory and table instructions. */
function skipMiscellaneous(reader: ByteReader): void {
  const code = reader.u32();
  if (code < 8) return;
  if (code > 17) unknown(0xfc, code);
  reader.skipLeb();
  if (code === 8 || code === 10 || code === 12 || code === 14) reader.skipLeb();
}

function skipVector(reader: ByteReader): void {
  const code = reader.u32();
  if (code <= 11 || code === 92 || code === 93) return skipMemoryArgument(reader);
  if (code === 12 || code === 13) return reader.skip(16);
  if (code >= 21 && code <= 34) return reader.skip(1);
  if (code >= 84 && code <= 91) {
    skipMemoryArgument(reader);
    return reader.skip(1);
  }
  if (code > 0x113) unknown(0xfd, code);
}

function skipAtomic(reader: ByteReader): void {
  const code = reader.u32();
  if (code === 3) return reader.skip(1); // atomic.fence
  if (code > 0x4e) unknown(0xfe, code);
  skipMemoryArgument(reader);
}

function unknown(opcode: number, code?: number): never {
  const hex = (n: number): string => `0x${n.toString(16)}`;
  const what =
    opcode === gcPrefix
      ? 'garbage-collected types'
      : `the instruction ${hex(opcode)}${code === undefined ? '' : ` ${hex(code)}`}`;
  throw new PrecompileError('ErrModuleUnsupported', `Loamlet can't run this module: it uses ${what}`, {
    remedy: 'build it without that WebAssembly feature',
  });
}
