import { pino, type Logger as PinoLogger } from 'pino';
import { errorLine, systemCode } from '../base/errors.ts';
import { HumanLines } from './human-lines.ts';

/** Structured log: fixed message, data as fields, a child per pod. */
export type Logger = Pick<PinoLogger, 'debug' | 'info' | 'warn' | 'error' | 'child' | 'level'>;

export type LogLevel = 'debug' | 'info' | 'warn' | 'error' | 'silent';

export interface LoggerOptions {
  /** @default 'info' */
  readonly level?: LogLevel;
  /** `json`: a JSON object a line; `human`: short lines. @default human at a terminal, else json. */
  readonly format?: 'json' | 'human';
  /** File descriptor. @default 2 */
  readonly fd?: number;
}

/**
 * Writes synchronously, in this thread, to stderr: the last line before a crash is on it. An error goes in the field
 * `err`; its stack is written only when the level is `debug`.
 */
export function createLogger(options: LoggerOptions = {}): Logger {
  const { level = 'info', fd = 2 } = options;
  const format =
    options.format ?? (process.stderr.isTTY && process.env['JOURNAL_STREAM'] === undefined ? 'human' : 'json');
  const withStack = level === 'debug';
  return pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      serializers: { err: (error: unknown) => serialised(error, withStack) },
      ...(format === 'json' ? { formatters: { level: (label: string) => ({ level: label }) } } : {}),
    },
    format === 'json' ? pino.destination({ fd, sync: true }) : new HumanLines(fd),
  );
}

function serialised(error: unknown, withStack: boolean): unknown {
  if (!(error instanceof Error)) return { message: errorLine(error) };
  const code = systemCode(error);
  return {
    message: errorLine(error),
    ...(code === undefined ? {} : { code }),
    ...(withStack ? { stack: error.stack } : {}),
  };
}
