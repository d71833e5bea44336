import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { Outbox } from '../../src/mqtt/outbox.ts';
import { createLogger } from '../../src/observe/logger.ts';
import { Database } from '../../src/store/database.ts';

export interface OutboxFigures {
  /** Publishes a second, each committed with a wait for the disk before its module went on. */
  readonly publishPerSecond: number;
  /** Median and 99th percentile of what a module waited. */
  readonly waitMsMedian: number;
  readonly waitMsP99: number;
  /** Mean and longest time the thread stood still for a commit. */
  readonly commitMsMean: number;
  readonly commitMsMax: number;
  readonly publishesPerCommit: number;
}

/**
 * Many modules, each publishing its next reading as soon as the last one is committed, into an outbox on a real file.
 * @param folder where the file is made: the disk that is measured.
 */
export async function measureOutbox(
  folder: string,
  { modules = 100, publishes = 20_000 } = {},
): Promise<OutboxFigures> {
  const made = mkdtempSync(join(folder, 'loamlet-bench-'));
  try {
    const log = createLogger({ level: 'warn' });
    using database = Database.open(join(made, 'state.db'), log);
    using outbox = new Outbox(database, log);
    const payload = Buffer.from('{"value":41.7,"unit":"%","at":1790000000000}');
    const waits: number[] = [];
    let publishNo = 0;
    const module = async (index: number): Promise<void> => {
      while (publishNo < publishes) {
        publishNo += 1;
        const topic = `garden/bed-${index}/soil-moisture`;
        const started = performance.now();
        const [result] = await outbox.append([
          { runnerId: 'bench', publishNo, topic, payload, qos: 1, retain: true, atMs: Date.now() },
        ]);
        waits.push(performance.now() - started);
        if (result?.state !== 'committed') throw new Error(`publish ${publishNo} was ${result?.state}`);
      }
    };
    const started = performance.now();
    await Promise.all(Array.from({ length: modules }, (_, index) => module(index)));
    const seconds = (performance.now() - started) / 1_000;
    const { commits, commitMsTotal, commitMsMax, committedTotal } = outbox.stats();
    waits.sort((a, b) => a - b);
    const at = (part: number): number => waits[Math.min(waits.length - 1, Math.floor(waits.length * part))] ?? 0;
    return {
      publishPerSecond: waits.length / seconds,
      waitMsMedian: at(0.5),
      waitMsP99: at(0.99),
      commitMsMean: commitMsTotal / commits,
      commitMsMax,
      publishesPerCommit: committedTotal / commits,
    };
  } finally {
    rmSync(made, { recursive: true, force: true });
  }
}

if (import.meta.main) {
  console.table(await measureOutbox(process.argv[2] ?? '/var/tmp'));
}
