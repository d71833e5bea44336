import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A temporary folder that ends with its scope. */
export class StateFolder implements Disposable {
  readonly path = mkdtempSync(join(tmpdir(), 'loamlet-test-'));

  constructor() {
    // The runner's user, where there is one, has to pass.
    chmodSync(this.path, 0o711);
  }

  file(name: string): string {
    return join(this.path, name);
  }

  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}
