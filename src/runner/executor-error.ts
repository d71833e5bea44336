import { LoamletError, type ErrorDetails } from '../base/errors.ts';
import type { StartFailure } from './protocol.ts';

/** Why a container could not start; the codes are those of the protocol. */
export class ExecutorError extends LoamletError<StartFailure> {
  constructor(code: StartFailure, message: string, details?: ErrorDetails) {
    super(code, code === 'DeviceUnavailable' ? 'world' : 'operator', message, details);
  }
}
