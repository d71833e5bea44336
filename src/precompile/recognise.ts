import { PrecompileError } from './errors.ts';

const buildCore = 'build a core module for wasm32-wasi (Rust wasm32-wasip1, Go GOOS=wasip1)';

const signatures: readonly (readonly [bytes: readonly number[], name: string, remedy: string])[] = [
  [[0x7f, 0x45, 0x4c, 0x46], 'an ELF file (a Linux executable or library)', buildCore],
  [[0x1f, 0x8b], 'a gzip file', 'unpack it first; for a container image, push the module itself with `loamlet push`'],
  [[0x28, 0xb5, 0x2f, 0xfd], 'a zstd file', 'unpack it first'],
  [[0x50, 0x4b, 0x03, 0x04], 'a zip file', 'unpack it first'],
  [[0x4d, 0x5a], 'a Windows executable', buildCore],
  [[0x21, 0x3c, 0x61, 0x72, 0x63, 0x68, 0x3e], 'an archive of object files', 'link it to a module first'],
  [[0xcf, 0xfa, 0xed, 0xfe], 'a macOS executable', buildCore],
  [[0xca, 0xfe, 0xba, 0xbe], 'a Java class or macOS executable', buildCore],
];

/**
 * Passes core WebAssembly modules of version 1 and says by name what anything else is.
 * @throws PrecompileError `ErrImageNotWasm`, `ErrModuleInvalid`, or `ErrModuleUnsupported` for a component.
 */
export function expectCoreModule(bytes: Uint8Array): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const magic = [0x00, 0x61, 0x73, 0x6d];
  if (!magic.every((byte, i) => i >= bytes.length || bytes[i] === byte) || bytes.length === 0) notWasm(bytes);
  if (bytes.length < 8) {
    throw new PrecompileError(
      'ErrModuleInvalid',
      `the module is truncated: it has ${bytes.length} bytes, its header alone takes 8`,
      {
        remedy: 'build it again and check that the upload was complete',
      },
    );
  }
  const version = view.getUint16(4, true);
  const layer = view.getUint16(6, true);
  if (layer === 1) {
    throw new PrecompileError(
      'ErrModuleUnsupported',
      'the file is a WebAssembly component, Loamlet runs core modules',
      {
        remedy: `${buildCore}, without a component adapter`,
      },
    );
  }
  if (version !== 1 || layer !== 0) {
    throw new PrecompileError(
      'ErrModuleInvalid',
      `the module has WebAssembly version ${view.getUint32(4, true)}, Loamlet reads version 1`,
      {
        remedy: buildCore,
      },
    );
  }
}

function notWasm(bytes: Uint8Array): never {
  for (const [signature, what, remedy] of signatures) {
    if (signature.every((byte, i) => bytes[i] === byte)) {
      throw new PrecompileError('ErrImageNotWasm', `not WebAssembly: this is ${what}`, { remedy });
    }
  }
  const what = bytes.length === 0 ? 'the file is empty' : describeText(bytes);
  throw new PrecompileError('ErrImageNotWasm', `not WebAssembly: ${what}`, { remedy: buildCore });
}

function describeText(bytes: Uint8Array): string {
  const start = Buffer.from(bytes.subarray(0, 256)).toString('latin1').replace(/^\s+/, '');
  if (/^(<!doctype html|<html)/i.test(start))
    return 'this is an HTML page (an error or login page saved in place of the module?)';
  if (start.startsWith('#!')) return 'this is a script';
  if (start.startsWith('(module')) return 'this is WebAssembly text; translate it with wat2wasm';
  if (start.startsWith('{') || start.startsWith('[')) return 'this is JSON';
  if (bytes.length > 262 && bytes.subarray(257, 262).every((b, i) => b === 'ustar'.charCodeAt(i)))
    return 'this is a tar archive';
  const hex = Buffer.from(bytes.subarray(0, 4)).toString('hex');
  return `it starts with ${hex}, a module starts with 0061736d`;
}
