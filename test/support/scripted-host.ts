import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { WASI } from 'node:wasi';

export type ScriptedRead =
  | { readonly value: number; readonly unit: string; readonly takenAt: bigint; readonly quality: number }
  | { readonly error: number; readonly text?: string };

export interface Script {
  readonly env?: Readonly<Record<string, string>>;
  /** The case of `sensors.error` that `open` answers with. */
  readonly openError?: number;
  /** What the n-th read gives, from 0. */
  read(n: number): ScriptedRead;
  /** The case of `messaging.error` that the n-th publish answers with. */
  publishError?(n: number): { readonly error: number; readonly text?: string } | undefined;
  /** Whether the pod is being stopped after so many reads. */
  stopping?(reads: number): boolean;
}

export interface Outcome {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
  readonly published: readonly unknown[];
  readonly memoryBytes: number;
  readonly reads: number;
}

/**
 * Runs a module against results laid out by hand as the canonical ABI has them, with Node's WASI: the second opinion on
 * the ABI of the examples' SDKs, which shares nothing with the host calls of the product. Nothing suspends here.
 */
export function runScripted(wasm: Uint8Array<ArrayBuffer>, script: Script): Outcome {
  const folder = mkdtempSync(join(tmpdir(), 'loamlet-guest-'));
  const [stdout, stderr] = [openSync(join(folder, 'out'), 'w+'), openSync(join(folder, 'err'), 'w+')];
  try {
    const wasi = new WASI({
      version: 'preview1',
      args: ['module'],
      env: { ...script.env },
      stdout,
      stderr,
      returnOnExit: true,
    });
    const published: unknown[] = [];
    let reads = 0;
    const memory = (): ArrayBuffer => (instance.exports.memory as WebAssembly.Memory).buffer;
    const view = (): DataView => new DataView(memory());
    const text = (at: number, length: number): string => Buffer.from(memory(), at, length).toString();
    const returned = (at: number, content: string): void => {
      const bytes = Buffer.from(content);
      const allocate = instance.exports.cabi_realloc as (...sizes: number[]) => number;
      const address = allocate(0, 0, 1, bytes.byteLength) >>> 0;
      Buffer.from(memory()).set(bytes, address);
      view().setUint32(at, address, true);
      view().setUint32(at + 4, bytes.byteLength, true);
    };
    const fail = (
      result: number,
      at: number,
      { error, text: words }: { readonly error: number; readonly text?: string },
    ): void => {
      view().setUint8(result, 1);
      view().setUint8(result + at, error);
      if (words !== undefined) returned(result + at + 4, words);
    };
    const instance: WebAssembly.Instance = new WebAssembly.Instance(new WebAssembly.Module(wasm), {
      wasi_snapshot_preview1: wasi.wasiImport as WebAssembly.Imports[string],
      'loamlet:host/sensors@0.1.0': {
        open: (name: number, length: number, result: number) => {
          if (script.openError !== undefined || text(name, length) !== 'soil-moisture')
            return fail(result, 4, { error: script.openError ?? 0 });
          view().setUint8(result, 0);
          view().setInt32(result + 4, 7, true);
        },
        '[method]sensor.read': (self: number, result: number) => {
          if (self !== 7) throw new Error(`handle ${self}`);
          const next = script.read(reads++);
          if ('error' in next) return fail(result, 8, next);
          returned(result + 16, next.unit);
          view().setUint8(result, 0);
          view().setFloat64(result + 8, next.value, true);
          view().setBigUint64(result + 24, next.takenAt, true);
          view().setUint8(result + 32, next.quality);
        },
        '[resource-drop]sensor': () => undefined,
      },
      'loamlet:host/messaging@0.1.0': {
        'publish-reading': (
          ...[topic, topicLength, sensor, sensorLength, value, unit, unitLength, takenAt, quality, result]: [
            number,
            number,
            number,
            number,
            number,
            number,
            number,
            bigint,
            number,
            number,
          ]
        ) => {
          const error = script.publishError?.(published.length);
          published.push({
            topic: text(topic, topicLength),
            sensor: text(sensor, sensorLength),
            value,
            unit: text(unit, unitLength),
            takenAt: BigInt.asUintN(64, takenAt),
            quality,
          });
          if (error !== undefined) return fail(result, 4, error);
          view().setUint8(result, 0);
        },
      },
      'loamlet:host/lifecycle@0.1.0': { stopping: () => ((script.stopping?.(reads) ?? false) ? 1 : 0) },
    });
    const exitCode = wasi.start(instance);
    const memoryBytes = memory().byteLength;
    return {
      exitCode,
      stdout: readFileSync(join(folder, 'out'), 'utf8'),
      stderr: readFileSync(join(folder, 'err'), 'utf8'),
      published,
      memoryBytes,
      reads,
    };
  } finally {
    closeSync(stdout);
    closeSync(stderr);
    rmSync(folder, { recursive: true, force: true });
  }
}
