import type { ByteReader } from './byte-reader.ts';
import { PrecompileError } from './errors.ts';

const functionType = 0x60;
/** `exnref` as a value type, and as the heap type behind `ref` and `ref null`. */
const exceptionReference = 0x69;

/**
 * Goes through types and tags, and returns how many types there are. Each element is one type: groups of them belong to garbage
 * collection. An exception that carries another can be linked to a list without end outside of the module's memory.
 * @throws PrecompileError `ErrModuleInvalid`, `ErrModuleUnsupported`
 */
export function checkTypes(types: ByteReader | undefined, tags: ByteReader | undefined): number {
  const carriers = new Set<number>();
  const count = types?.count('types', 1_000_000) ?? 0;
  for (let n = 0; n < count; n++) {
    if (types!.u8() !== functionType) unsupported('it uses garbage-collected types');
    if (hasExceptionReference(types!, 'parameters')) carriers.add(n);
    hasExceptionReference(types!, 'results');
  }
  for (let left = tags?.count('tags', 1_000_000) ?? 0; left > 0; left--) {
    tags!.u8();
    if (carriers.has(tags!.u32())) unsupported('it has exceptions that carry exceptions');
  }
  return count;
}

/** Reads a vector of value types. */
function hasExceptionReference(reader: ByteReader, what: string): boolean {
  let found = false;
  for (let values = reader.count(what, 1000); values > 0; values--) {
    const byte = reader.u8();
    if (byte === exceptionReference) found = true;
    if (byte === 0x63 || byte === 0x64) {
      const start = reader.at;
      reader.skipLeb();
      // The heap type may be written with more bytes than it takes.
      if ((reader.bytes[start]! & 0x7f) === exceptionReference) found = true;
    }
  }
  return found;
}

function unsupported(what: string): never {
  throw new PrecompileError('ErrModuleUnsupported', `Loamlet can't run this module: ${what}`, {
    remedy: 'build it without that WebAssembly feature',
  });
}
