import { LoamletError, type Blame, type ErrorDetails } from '../base/errors.ts';

/**
 * CannotOpen: the file or its folder can't be read or written.
 * Corrupt: the file is damaged; it is left as it is.
 * NotOurs: a SQLite file of some other program.
 * NewerVersion: written by a newer Loamlet, whose tables this one does not know.
 * InUse: another agent has it.
 */
export type StoreErrorCode = 'CannotOpen' | 'Corrupt' | 'NotOurs' | 'NewerVersion' | 'InUse';

const blame: Record<StoreErrorCode, Blame> = {
  CannotOpen: 'operator',
  Corrupt: 'world',
  NotOurs: 'operator',
  NewerVersion: 'operator',
  InUse: 'operator',
};

export class StoreError extends LoamletError<StoreErrorCode> {
  constructor(code: StoreErrorCode, message: string, details?: ErrorDetails) {
    super(code, blame[code], message, details);
  }
}
