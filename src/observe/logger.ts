import type { Logger as PinoLogger } from 'pino';

/** Structured log: fixed message, data as fields, a child per pod. */
export type Logger = Pick<PinoLogger, 'debug' | 'info' | 'warn' | 'error' | 'child' | 'level'>;
