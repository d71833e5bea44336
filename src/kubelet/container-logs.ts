import { LoamletError, type ErrorDetails } from '../base/errors.ts';

/** A container as the API server names it on the kubelet port. All three are DNS names, checked before they get here. */
export interface ContainerRef {
  readonly namespace: string;
  readonly pod: string;
  readonly container: string;
}

/** What `kubectl logs` asked for, parsed and bounded. `previous` is the container's run before the present one. */
export interface LogOptions {
  /** Go on with new lines until the container ends or the signal is aborted. */
  readonly follow: boolean;
  /** Begin so many lines before the end (0: only what comes); undefined: from the beginning. */
  readonly tailLines: number | undefined;
  /** Leave out lines older than this; from `sinceSeconds` (by this node's clock) or `sinceTime`. */
  readonly since: Date | undefined;
  /** Put the line's RFC 3339 time with nanoseconds and one space before each line. */
  readonly timestamps: boolean;
  /** End after so many bytes, in the middle of a line if it must be; counted with the timestamps. */
  readonly limitBytes: number | undefined;
  readonly previous: boolean;
}

/** Where the kubelet port's `/containerLogs` gets its bytes. */
export interface ContainerLogs {
  /**
   * The lines as a client sees them: content and line feed (the log format's time, stream and tag already taken off).
   * Resolves once it is known that the container has a log, so that the answer's status can still be chosen; the
   * iterable ends when the log does, or without an error when `signal` is aborted.
   * @throws {ContainerLogsError} without such a pod, container or earlier run.
   */
  open(ref: ContainerRef, options: LogOptions, signal: AbortSignal): Promise<AsyncIterable<Uint8Array>>;
}

export type ContainerLogsErrorCode =
  /** The node has no such pod or container. */
  | 'LOGS_NOT_FOUND'
  /** The container is there, but has no such log: it hasn't started yet, or has no earlier run. */
  | 'LOGS_NOT_AVAILABLE';

/** Its message is what the person at `kubectl logs` reads: one line, naming the container. */
export class ContainerLogsError extends LoamletError<ContainerLogsErrorCode> {
  constructor(code: ContainerLogsErrorCode, message: string, details: ErrorDetails = {}) {
    super(code, 'operator', message, details);
  }
}
