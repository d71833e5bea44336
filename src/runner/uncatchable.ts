/**
 * The error of a real trap, made once. A guest's `catch_all` catches any error of ours, but never this object, so it is
 * what every ended guest is ended with: thrown from its imports, and the rejection of its waits. What it means is in the
 * instance's `ending`.
 */
export const uncatchable: WebAssembly.RuntimeError = (() => {
  // (module (func (export "t") unreachable))
  const bytes = Uint8Array.from([
    0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, 1, 4, 1, 0x60, 0, 0, 3, 2, 1, 0, 7, 5, 1, 1, 0x74, 0, 0, 10, 5, 1, 3, 0, 0, 0x0b,
  ]);
  const { t } = new WebAssembly.Instance(new WebAssembly.Module(bytes)).exports;
  try {
    (t as () => void)();
  } catch (error) {
    return error as WebAssembly.RuntimeError;
  }
  throw new Error('unreachable did not trap');
})();
