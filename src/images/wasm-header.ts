/** What the first bytes of a file say it is. */
export type WasmKind = 'module' | 'component' | 'other';

/** Bytes that `wasmKind` needs. */
export const wasmHeaderBytes = 8;

/** A core module is version 1 of layer 0; a component has layer 1 and a version of its own. */
export function wasmKind(header: Uint8Array): WasmKind {
  if (header.byteLength < wasmHeaderBytes || Buffer.from(header.subarray(0, 4)).toString('latin1') !== '\0asm')
    return 'other';
  if (header[6] === 1 && header[7] === 0) return 'component';
  return header[4] === 1 && header[5] === 0 && header[6] === 0 && header[7] === 0 ? 'module' : 'other';
}

/** For messages: what a thing that is no core module is. */
export function notModule(kind: Exclude<WasmKind, 'module'>): string {
  return kind === 'component'
    ? 'is a WebAssembly component, not a core module (build for wasm32-wasip1)'
    : 'is no WebAssembly module';
}
