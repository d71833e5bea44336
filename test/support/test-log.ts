import { Writable } from 'node:stream';
import { pino } from 'pino';
import { errorLine } from '../../src/base/errors.ts';
import type { Logger } from '../../src/observe/logger.ts';

export interface LogLine {
  readonly level: number;
  readonly msg: string;
  readonly [field: string]: unknown;
}

/** A log that keeps its lines, errors as their one line in `err`. */
export class TestLog {
  readonly lines: LogLine[] = [];
  #waiters: { readonly wanted: (line: LogLine) => boolean; readonly resolve: (line: LogLine) => void }[] = [];
  readonly log: Logger = pino(
    { level: 'debug', base: null, serializers: { err: errorLine } },
    new Writable({
      write: (chunk: Buffer, _encoding, done) => {
        const line = JSON.parse(chunk.toString()) as LogLine;
        this.lines.push(line);
        this.#waiters = this.#waiters.filter(({ wanted, resolve }) => {
          if (!wanted(line)) return true;
          resolve(line);
          return false;
        });
        done();
      },
    }),
  );

  /** Resolves with the next such line. */
  until(wanted: (line: LogLine) => boolean): Promise<LogLine> {
    return new Promise((resolve) => this.#waiters.push({ wanted, resolve }));
  }

  /** Lines of this level and above: 30 info, 40 warn, 50 error. */
  atLeast(level: number): LogLine[] {
    return this.lines.filter((line) => line.level >= level);
  }
}
