/** Who has to act for the error to go away. */
export type Blame = 'guest' | 'operator' | 'world' | 'us';

export interface ErrorDetails {
  /** What the person who reads it can do next: a command, a config key, a place to look. */
  remedy?: string;
  cause?: unknown;
  context?: Readonly<Record<string, unknown>>;
}

/**
 * The base of every error that Loamlet raises on purpose. The message is one line that names the thing; `code` is what
 * programs match on, each declared with its sentence beside the class that throws it.
 */
export class LoamletError<Code extends string = string> extends Error {
  readonly code: Code;
  readonly blame: Blame;
  readonly remedy: string | undefined;
  readonly context: Readonly<Record<string, unknown>>;

  constructor(code: Code, blame: Blame, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = new.target.name;
    this.code = code;
    this.blame = blame;
    this.remedy = details.remedy;
    this.context = details.context ?? {};
  }

  /** One line for a person: the message, then the remedy. */
  get line(): string {
    const line = this.remedy === undefined ? this.message : `${this.message}: ${this.remedy}`;
    // A part of the message may be another program's.
    return line.replaceAll(/\s*[\r\n]+\s*/g, ' ');
  }
}

/** The one line a person sees of any thrown value; never a stack. */
export function errorLine(error: unknown): string {
  if (error instanceof LoamletError) return error.line;
  if (error instanceof AggregateError && error.errors.length > 0) return errorLine(error.errors[0]);
  if (error instanceof Error) return error.message.split('\n', 1)[0] || error.name;
  return String(error);
}

/** The `code` of a system error (`ENOENT`), or undefined. */
export function systemCode(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;
}
