import { LoamletError, type ErrorDetails } from '../base/errors.ts';

/**
 * LaunchFailed: the runner process could not be started; the message says why.
 * RunnerGone: its process does not live any more.
 * RunnerBusy: another agent is connected to it.
 * RunnerRefused: it does not know our token, or speaks another version.
 * RunnerSilent: it lives but does not answer; a module may hold it.
 */
export type RunnerErrorCode = 'LaunchFailed' | 'RunnerGone' | 'RunnerBusy' | 'RunnerRefused' | 'RunnerSilent';

export class RunnerError extends LoamletError<RunnerErrorCode> {
  constructor(code: RunnerErrorCode, message: string, details?: ErrorDetails) {
    super(code, code === 'LaunchFailed' ? 'operator' : 'us', message, details);
  }
}
